"""Make the site's pictures: of a sweep, and of a trainer on a local network during the third round's training."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from decloud_pl.chain.wallet import create_wallet
from decloud_pl.cli.localnet_process import local_network
from decloud_pl.cli.ui.live import picture
from decloud_pl.cli.ui.live_state import LiveState
from decloud_pl.config import compose
from decloud_pl.daemon.assemble import assemble
from decloud_pl.daemon.loop import Daemon
from decloud_pl.daemon.settings import facts
from decloud_pl.dashboard.app import serve
from decloud_pl.rounds.events import DaemonEvent, Training

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
_ROUND = 2
_SHARE = 0.3
_WIDTH, _HEIGHT = 100, 24
_WINDOW = (1200, 860)
_DRAWING_SECONDS = 4.0
_PIPED_WIDTH = 82
# The sweep of the tutorial.
_SWEEP = "task=experiment trainer=cpu max_batches=15 optimizer.lr=3e-4,1e-3,3e-3 epochs=1,3"


class Photographer:
    """A `Reporter` that waits for the moment of the picture."""

    def __init__(self, state: LiveState) -> None:
        self.state = state
        self.moment = asyncio.Event()

    def report(self, event: DaemonEvent) -> None:
        self.state.apply(event, time.time())
        if isinstance(event, Training) and event.round_id >= _ROUND and event.step > _SHARE * event.total_steps > 0:
            self.moment.set()


def live(state: LiveState) -> None:
    """Save a picture of the live view."""
    console = Console(record=True, width=_WIDTH, height=_HEIGHT, force_terminal=True, file=io.StringIO())
    console.print(picture(state, time.time(), width=_WIDTH, height=_HEIGHT))
    save(console, "start", "live")


def printed(title: str, text: str) -> None:
    """Save a picture of a command's output."""
    console = Console(record=True, width=_PIPED_WIDTH, force_terminal=True, file=io.StringIO())
    console.print(text.rstrip(), markup=False, highlight=False)
    save(console, title, title.partition(" ")[0])


def save(console: Console, title: str, name: str) -> None:
    """Save the console as an SVG, without rich's web fonts."""
    title = f"decloud-trainer {title}"
    text = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title), flags=re.DOTALL)
    lines = (line.rstrip() for line in text.splitlines())
    (PICTURES / f"{name}.svg").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


async def run(module: str, arguments: Sequence[str], home: Path) -> str:
    """Return the output of a command that uses this home folder."""
    environ = {**os.environ, "DECLOUD_HOME": str(home)}
    command = [sys.executable, "-m", module, *arguments]
    done = await asyncio.to_thread(subprocess.run, command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    return str(done.stdout)


async def sweep(home: Path) -> None:
    """Save the plot of a small sweep."""
    await run("decloud_pl", ["-m", *_SWEEP.split()], home)
    await run("decloud_pl.cli", ["sweeps", "--plot", str(PICTURES / "sweep.png")], home)


async def commands(overrides: Sequence[str], home: Path) -> None:
    """Save the output of ``explain`` and ``doctor`` while the first round waits for trainers."""
    waiting = ["list", "--status", "waiting-trainers", "--json", *overrides]
    while not json.loads(await run("decloud_pl.cli", waiting, home))["rounds"]:
        pass  # the command itself takes a moment
    for title in ("explain 0", "doctor"):
        printed(title, await run("decloud_pl.cli", [*title.split(), *overrides], home))


def curves(home: Path) -> None:
    """Save the curves of the first round."""
    (drawn,) = home.glob("reports/*/0/curves.png")
    shutil.copy(drawn, PICTURES)


def dashboard(url: str, profile: Path) -> None:
    """Save the dashboard's overview as a PNG, in light and dark."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"):
        options.add_argument(f"--{flag}")
    for flag in ("disable-background-networking", "disable-component-update", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        size = {"width": _WINDOW[0], "height": _WINDOW[1], "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(url)
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            time.sleep(_DRAWING_SECONDS)
            browser.save_screenshot(str(PICTURES / f"dashboard-{scheme}.png"))
    finally:
        browser.quit()


async def work(home: Path) -> None:
    trainer = home / "trainer"
    await sweep(home / "sweep")
    async with local_network(home / "network", log=home / "network.log", ended=asyncio.Event()) as network:
        wallet = create_wallet(trainer / "wallet.json")
        overrides = [
            f"home={trainer}",
            f"network.rpc_url={network.rpc_url}",
            f"network.ws_url={network.ws_url}",
            f"network.gateways=[{network.gateway_url}]",
            f"storage.path={Path(network.home) / 'store'}",
            f"wallet.keypair_path={trainer / 'wallet.json'}",
        ]
        await commands(overrides[1:], trainer)
        settings = compose([*overrides, "epochs=24", "poll_interval=1"])
        photographer = Photographer(LiveState(facts(settings, "none")))
        async with assemble(settings, wallet, photographer, preset="none") as daemon:
            running = asyncio.create_task(daemon.run())
            moment = asyncio.create_task(photographer.moment.wait())
            await asyncio.wait({running, moment}, return_when=asyncio.FIRST_COMPLETED)
            await take(photographer, home, daemon)
            with suppress(asyncio.CancelledError):
                await running


async def take(photographer: Photographer, home: Path, daemon: Daemon) -> None:
    live(photographer.state)
    curves(home / "trainer")
    async with serve(home / "trainer", "token-of-a-picture", port=0) as url:
        await asyncio.to_thread(dashboard, url, home / "chromium")
    daemon.stop()


def main() -> int:
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        print("The pictures need chromium and chromedriver. Run: apt install chromium chromium-driver", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="decloud-") as name:
        asyncio.run(work(Path(name)))
    for path in sorted(PICTURES.iterdir()):
        print(f"{path.relative_to(PICTURES.parents[1])}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
