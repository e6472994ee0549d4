"""``decloud-trainer storage``: the user's own check that what is pinned can be fetched."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from decloud_pl.errors import ContentNotFound, DecloudError, UsageError

if TYPE_CHECKING:
    from decloud_pl.domain import PinnedUpdate
    from decloud_pl.settings import Settings
    from decloud_pl.store.publish import StoreProgress, StorePublisher

_EPILOG = """\
examples:
  decloud-trainer storage test                      log in, pin a few bytes, fetch them through a gateway
  decloud-trainer storage put model.pt storage=kubo
  decloud-trainer storage get bafybei… --out model.pt
  decloud-trainer storage pin-status bafybei…
  decloud-trainer storage gc                        remove updates of finished rounds from the embedded store
"""
_GET_LIMIT = 2 << 30


class _ActionParser(argparse.ArgumentParser):
    """Takes options and ``KEY=VALUE`` in any order; argparse's usual way ends at the first option."""

    _intermixing = False

    def parse_known_args(  # type: ignore[override]  # argparse's own overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self._intermixing:  # argparse calls itself before Python 3.12
            return super().parse_known_args(args, namespace)
        self._intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixing = False

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", fix=f"See {self.prog} --help.")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "storage",
        help="try the storage: test, put, get, pin-status, gc",
        description="Tries the configured storage and the gateways by hand.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=_ActionParser)
    test = _action(actions, "test", _test, "check the login, pin a few bytes and read them back")
    test.add_argument("--no-upload", action="store_true", help="only check the login")
    put = _action(actions, "put", _put, "pin a file and read it back")
    put.add_argument("file", type=Path)
    get = _action(actions, "get", _get, "fetch a file by CID, verified")
    get.add_argument("cid")
    get.add_argument("--out", type=Path, default=None, metavar="FILE", help="where to put it (default: the CID)")
    get.add_argument("--max-bytes", type=int, default=_GET_LIMIT, metavar="N", help="the largest file to accept")
    _action(actions, "pin-status", _pin_status, "say which storage has pinned a CID").add_argument("cid")
    _action(actions, "gc", _gc, "remove what no unfinished round needs from the embedded store")
    # Last, because it takes all that is left.
    for action in actions.choices.values():
        action.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings for this run")


def _action(
    actions: argparse._SubParsersAction[_ActionParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run)
    return action


def _settings(arguments: argparse.Namespace) -> Settings:
    from decloud_pl.settings import load

    return load(arguments.overrides)


def _test(arguments: argparse.Namespace) -> int:
    """Every store is tried, whatever the others say; the exit code is that of the first that failed."""
    from decloud_pl.rounds.stores import make_publisher, make_stores

    settings = _settings(arguments)
    results: list[dict[str, object]] = []
    code = 0
    network, storage = settings.network, settings.storage
    for store in make_stores(storage, network, settings.secrets, settings.home_path):
        result: dict[str, object] = {"store": store.name, "ok": True}
        try:
            result["message"] = store.check()
            if not arguments.no_upload:
                patience = f"{storage.read_back_seconds:g} s"
                print(f"{store.name}: {result['message']} Pinning and reading back, up to {patience}…", file=sys.stderr)
                pinned = _pin_some_bytes(make_publisher([store], storage, network))
                result["message"] = f"{result['message']} A test file was pinned and read back."
                result.update(cid=pinned.cid, read_back_from=pinned.read_back_from)
        except DecloudError as error:
            result.update(ok=False, message=str(error))
            code = code or error.exit_code
        results.append(result)
    if arguments.json:
        print(json.dumps({"ok": code == 0, "stores": results}))
    else:
        for result in results:
            print(f"{result['store']}: {'ok' if result['ok'] else 'failed'}. {result['message']}")
    return code


def _pin_some_bytes(publisher: StorePublisher) -> PinnedUpdate:
    """Fresh bytes each time: old ones might still be in a gateway's cache, which would prove nothing."""
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decloud-trainer-storage-test.txt"
        path.write_text(f"decloud-trainer storage test {os.urandom(16).hex()}\n", encoding="ascii")
        return _publish(publisher, path, progress=None)


def _put(arguments: argparse.Namespace) -> int:
    from decloud_pl.rounds.stores import make_publisher, make_stores

    settings = _settings(arguments)
    network, storage = settings.network, settings.storage
    stores = make_stores(storage, network, settings.secrets, settings.home_path)
    publisher = make_publisher(stores, storage, network)
    with _bar(f"Pinning {arguments.file.name}") as progress:
        pinned = _publish(publisher, arguments.file, progress=progress)
    if arguments.json:
        fields = {"cid": pinned.cid, "size": pinned.size, "store": pinned.provider}
        print(json.dumps({**fields, "read_back_from": pinned.read_back_from}))
    else:
        print(pinned.cid)
    return 0


def _publish(publisher: StorePublisher, path: Path, *, progress: StoreProgress | None) -> PinnedUpdate:
    import asyncio
    import tempfile

    from decloud_pl.store.publish import LocalFile
    from decloud_pl.store.uploads import MemoryUploadLog

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "read-back"
        file = LocalFile.of(path)
        return asyncio.run(publisher.pin(file, log=MemoryUploadLog(), scratch=scratch, progress=progress))


def _get(arguments: argparse.Namespace) -> int:
    from decloud_pl.rounds.stores import make_reader
    from decloud_pl.store.ipfs.cid import Cid

    cid = str(Cid.parse(arguments.cid))
    out = arguments.out or Path(cid)
    settings = _settings(arguments)
    reader = make_reader(settings.network, settings.storage, settings.home_path)
    fetched = reader.fetch(cid, out, max_bytes=arguments.max_bytes)
    if arguments.json:
        print(json.dumps({"cid": cid, "file": str(out), "size": fetched.size, "from": fetched.gateway}))
    else:
        print(f"{out}: {fetched.size:,} bytes from {fetched.gateway}, verified.")
    return 0


def _pin_status(arguments: argparse.Namespace) -> int:
    from decloud_pl.rounds.stores import make_stores
    from decloud_pl.store.ipfs.cid import Cid

    cid = str(Cid.parse(arguments.cid))
    settings = _settings(arguments)
    stores = make_stores(settings.storage, settings.network, settings.secrets, settings.home_path)
    pinned = {store.name: store.has(cid) for store in stores}
    if arguments.json:
        print(json.dumps({"cid": cid, "pinned": pinned}))
    else:
        for name, there in pinned.items():
            print(f"{name}: {'pinned' if there else 'not pinned'}")
    return 0 if any(pinned.values()) else ContentNotFound.exit_code


def _gc(arguments: argparse.Namespace) -> int:
    from decloud_pl.rounds.stores import collect_garbage_of_home

    settings = _settings(arguments)
    removed = collect_garbage_of_home(settings.home_path, Path(settings.storage.path).expanduser())
    if arguments.json:
        print(json.dumps({"removed": removed}))
    else:
        print("\n".join([*removed, f"{len(removed)} files removed."]))
    return 0


@contextmanager
def _bar(title: str) -> Iterator[StoreProgress]:
    """A progress bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)

        def report(store: str, sent: int, total: int) -> None:
            progress.update(task, description=f"{title} with {store}", completed=sent, total=total)

        yield report
