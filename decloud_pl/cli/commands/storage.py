"""Test and use the storage: test, put, get, pin-status, gc.

Uses the configured storage and gateways.

Examples:
  decloud-trainer storage test                      check the login, pin a test file, fetch it through a gateway
  decloud-trainer storage put model.pt
  decloud-trainer storage get bafybei… --out model.pt
  decloud-trainer storage pin-status bafybei…
  decloud-trainer storage gc                        remove updates of finished rounds from this machine
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import FILE, as_json, group, overrides
from decloud_pl.errors import ContentNotFound, DecloudError, SizeLimitExceeded

if TYPE_CHECKING:
    from decloud_pl.config import Settings
    from decloud_pl.domain import PinnedUpdate
    from decloud_pl.store.publish import StorePublisher
    from decloud_pl.store.upload import StoreProgress

_GET_LIMIT = 2 << 30


run = group(__doc__)


def _settings(overrides: Sequence[str]) -> Settings:
    from decloud_pl.config import load

    return load(overrides)


@run.command()
@click.option("--no-upload", is_flag=True, help="check only the login")
@as_json
@overrides
def test(no_upload: bool, as_json: bool, overrides: list[str]) -> int:
    """Check the login, pin a test file and read it back."""
    # Every store is tested, and the exit code is that of the first failure.
    from decloud_pl.cli.ui.streams import with_advice
    from decloud_pl.rounds.stores import make_publisher, make_stores

    settings = _settings(overrides)
    results: list[dict[str, object]] = []
    code = 0
    network, storage = settings.network, settings.storage
    for store in make_stores(settings):
        result: dict[str, object] = {"store": store.name, "ok": True}
        try:
            result["message"] = store.check()
            if not no_upload:
                patience = f"{storage.read_back_seconds:g} s"
                print(f"{store.name}: {result['message']} Pinning and reading back, up to {patience}…", file=sys.stderr)
                pinned = _pin_some_bytes(make_publisher([store], storage, network))
                result["message"] = f"{result['message']} A test file was pinned and read back."
                result.update(cid=pinned.cid, read_back_from=pinned.read_back_from)
        except DecloudError as error:
            result.update(ok=False, message=with_advice(error))
            code = code or error.exit_code
        results.append(result)
    if as_json:
        print(json.dumps({"ok": code == 0, "stores": results}))
    else:
        for result in results:
            print(f"{result['store']}: {'ok' if result['ok'] else 'failed'}. {result['message']}")
    return code


def _pin_some_bytes(publisher: StorePublisher) -> PinnedUpdate:
    """Pin a file of random bytes, because a gateway could still have the file of an earlier test in its cache."""
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decloud-trainer-storage-test.txt"
        path.write_text(f"decloud-trainer storage test {os.urandom(16).hex()}\n", encoding="ascii")
        return _publish(publisher, path, progress=None)


@run.command()
@click.argument("file", type=FILE, metavar="FILE")
@as_json
@overrides
def put(file: Path, as_json: bool, overrides: list[str]) -> int:
    """Pin a file and read it back."""
    from decloud_pl.cli.ui.progress import transfer
    from decloud_pl.rounds.stores import make_publisher, make_stores
    from decloud_pl.store.sending import checked_file

    settings = _settings(overrides)
    network, storage = settings.network, settings.storage
    stores = make_stores(settings)
    publisher = make_publisher(stores, storage, network)
    checked_file(file)
    with transfer(f"Pinning {file.name}") as progress:
        pinned = _publish(publisher, file, progress=progress)
    if as_json:
        fields = {"cid": pinned.cid, "size": pinned.size, "store": pinned.provider}
        print(json.dumps({**fields, "read_back_from": pinned.read_back_from}))
    else:
        print(pinned.cid)
    return 0


def _publish(publisher: StorePublisher, path: Path, *, progress: StoreProgress | None) -> PinnedUpdate:
    import asyncio
    import tempfile
    from dataclasses import replace

    from decloud_pl.store.upload import LocalFile
    from decloud_pl.store.uploads import MemoryUploadLog

    patient = replace(publisher, tell=lambda said: print(said, file=sys.stderr))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "read-back"
        file = LocalFile.of(path)
        return asyncio.run(patient.pin(file, log=MemoryUploadLog(), scratch=scratch, progress=progress))


@run.command()
@click.argument("cid", metavar="CID")
@click.option("--out", type=FILE, metavar="FILE", help="file to write (default: the CID)")
@click.option("--max-bytes", type=int, default=_GET_LIMIT, metavar="N", help="the largest file to accept")
@as_json
@overrides
def get(cid: str, out: Path | None, max_bytes: int, as_json: bool, overrides: list[str]) -> int:
    """Fetch a file by its CID and verify it."""
    from decloud_pl.rounds.stores import make_reader
    from decloud_pl.store.ipfs.cid import Cid

    cid = str(Cid.parse(cid))
    out = out or Path(cid)
    settings = _settings(overrides)
    reader = make_reader(settings.network, settings.storage, settings.home_path)
    print(f"Fetching {cid}…", file=sys.stderr, flush=True)
    try:
        fetched = reader.fetch(cid, out, max_bytes=max_bytes)
    except SizeLimitExceeded as error:
        fix = "Raise --max-bytes if you trust the origin of the file."
        raise SizeLimitExceeded(error.message, fix=fix) from error
    if as_json:
        print(json.dumps({"cid": cid, "file": str(out), "size": fetched.size, "from": fetched.gateway}))
    else:
        print(f"{out}: {fetched.size:,} bytes from {fetched.gateway}, verified.")
    return 0


@run.command()
@click.argument("cid", metavar="CID")
@as_json
@overrides
def pin_status(cid: str, as_json: bool, overrides: list[str]) -> int:
    """Show which storage has pinned a CID."""
    from decloud_pl.rounds.stores import make_stores
    from decloud_pl.store.ipfs.cid import Cid

    cid = str(Cid.parse(cid))
    settings = _settings(overrides)
    stores = make_stores(settings)
    pinned = {store.name: store.has(cid) for store in stores}
    if as_json:
        print(json.dumps({"cid": cid, "pinned": pinned}))
    else:
        for name, there in pinned.items():
            print(f"{name}: {'pinned' if there else 'not pinned'}")
    return 0 if any(pinned.values()) else ContentNotFound.exit_code


@run.command()
@as_json
@overrides
def gc(as_json: bool, overrides: list[str]) -> int:
    """Remove the updates of finished rounds from the stores on this machine."""
    from decloud_pl.rounds.stores import collect_garbage_of_home

    removed = collect_garbage_of_home(_settings(overrides))
    if as_json:
        print(json.dumps({"removed": removed}))
    else:
        print("\n".join([*removed, f"{len(removed)} files removed."]))
    return 0
