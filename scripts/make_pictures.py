"""Run a local network with a trainer, and take the README's pictures while the third round trains."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import sys
import tempfile
import time
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


class Photographer:
    """A `Reporter` that signals the moment for the pictures."""

    def __init__(self, state: LiveState) -> None:
        self.state = state
        self.moment = asyncio.Event()

    def report(self, event: DaemonEvent) -> None:
        self.state.apply(event, time.time())
        if isinstance(event, Training) and event.round_id >= _ROUND and event.step > _SHARE * event.total_steps > 0:
            self.moment.set()


def live(state: LiveState) -> None:
    """Save the live view as an SVG, without rich's fonts, which browsers would load from another server."""
    console = Console(record=True, width=_WIDTH, height=_HEIGHT, force_terminal=True, file=io.StringIO())
    console.print(picture(state, time.time(), width=_WIDTH, height=_HEIGHT))
    text = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="decloud-trainer start"), flags=re.DOTALL)
    lines = (line.rstrip() for line in text.splitlines())
    (PICTURES / "live.svg").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


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
    async with local_network(home / "network", log=home / "network.log", ended=asyncio.Event()) as network:
        settings = compose(
            [
                f"home={home / 'trainer'}",
                f"network.rpc_url={network.rpc_url}",
                f"network.ws_url={network.ws_url}",
                f"network.gateways=[{network.gateway_url}]",
                f"storage.path={Path(network.home) / 'store'}",
                "epochs=24",
                "poll_interval=1",
            ]
        )
        photographer = Photographer(LiveState(facts(settings, "none")))
        wallet = create_wallet(home / "wallet.json")
        async with assemble(settings, wallet, photographer, preset="none") as daemon:
            running = asyncio.create_task(daemon.run())
            moment = asyncio.create_task(photographer.moment.wait())
            await asyncio.wait({running, moment}, return_when=asyncio.FIRST_COMPLETED)
            await take(photographer, home, daemon)
            with suppress(asyncio.CancelledError):
                await running


async def take(photographer: Photographer, home: Path, daemon: Daemon) -> None:
    live(photographer.state)
    async with serve(home / "trainer", "token-of-a-picture", port=0) as url:
        await asyncio.to_thread(dashboard, url, home / "chromium")
    daemon.stop()


def main() -> int:
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        print("The pictures need chromium and chromedriver. Run: apt install chromium chromium-driver", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(work(Path(name)))
    for path in sorted(PICTURES.iterdir()):
        print(f"{path.relative_to(PICTURES.parents[1])}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
