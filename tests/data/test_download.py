"""Downloads survive a bad connection, accept only the published file, and are found afterwards."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from decloud_pl.build import build
from decloud_pl.data.catalog import Catalog, entry
from decloud_pl.data.entry import DataFolder, Entry
from decloud_pl.data.fetch.background import RETRY_AFTER, BackgroundDownloads
from decloud_pl.data.fetch.download import download_entry, read_sums
from decloud_pl.errors import DatasetError, DatasetNotFound, DatasetNotReady
from tests.data import tiny
from tests.data.conftest import WebServer

CONTENT = random.Random(1).randbytes(3_000_000)


class Naps:
    """Counts the waits, which take no time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def declare(web: WebServer, *, checksum: str | None = None, urls: list[str] | None = None, **changes: Any) -> Entry:
    """Return a data set with one file of 3 MB."""
    web.files.setdefault("/file", CONTENT)
    md5 = hashlib.md5(CONTENT).hexdigest()
    download = {
        "file": "file",
        "checksum": f"md5:{md5}" if checksum is None else checksum,
        "urls": urls or [f"{web.url}/file"],
    }
    given = {
        "name": "mine",
        "kind": "image",
        "num_classes": 2,
        "licence": "-",
        "size": "-",
        "folder": "Mine",
        "files": ["file"],
        "downloads": [download],
        **changes,
    }
    return Entry.from_node("mine", {"entry": given})


def download(entry: Entry, data: DataFolder, naps: Naps | None = None) -> Path:
    return download_entry(entry, data, sleep=naps or Naps())


def test_a_file_its_checksum_and_no_second_time(web: WebServer, data: DataFolder) -> None:
    heard: list[tuple[str, int, int]] = []
    declared = declare(web)
    folder = download_entry(declared, data, progress=lambda *report: heard.append(report))
    assert (folder / "file").read_bytes() == CONTENT
    assert read_sums(folder) == {"file": hashlib.sha256(CONTENT).hexdigest()}
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    assert heard[-1] == ("file", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in heard] == sorted({done for _, done, _ in heard})
    download(declared, data)
    assert len(web.seen) == 1
    assert declared.find(None, data) == folder
    assert not list(folder.glob(".*.part"))


def test_a_cut_connection_is_gone_on_with(web: WebServer, data: DataFolder) -> None:
    web.faults["/file"] = ["cut", "cut", 503]
    naps = Naps()
    folder = download(declare(web), data, naps)
    assert (folder / "file").read_bytes() == CONTENT
    assert naps.seconds == [1.0, 3.0, 10.0]
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0 for _, wanted in web.seen]
    assert starts[0] == 0 < starts[1] < starts[2] == starts[3]


def test_a_killed_download_is_gone_on_with(web: WebServer, data: DataFolder) -> None:
    declared = declare(web)
    (data.folder / "Mine").mkdir(parents=True)
    (data.folder / "Mine" / ".file.part").write_bytes(CONTENT[:1000])
    assert (download(declared, data) / "file").read_bytes() == CONTENT
    assert web.seen == [("/file", "bytes=1000-")]


@pytest.mark.parametrize("left", [CONTENT, CONTENT[:500] + b"other", CONTENT + b"more", b"x" * len(CONTENT)])
def test_what_an_earlier_download_left_is_checked(web: WebServer, data: DataFolder, left: bytes) -> None:
    (data.folder / "Mine").mkdir(parents=True)
    (data.folder / "Mine" / ".file.part").write_bytes(left)
    assert (download(declare(web), data) / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["ignore-range", "wrong-range"])
def test_a_server_that_cannot_resume(web: WebServer, data: DataFolder, fault: str) -> None:
    web.faults["/file"] = ["cut", fault]
    assert (download(declare(web), data) / "file").read_bytes() == CONTENT


def test_wrong_bytes_are_refused(web: WebServer, data: DataFolder) -> None:
    web.files["/file"] = CONTENT[:-1] + b"?"
    with pytest.raises(DatasetNotFound, match=r"mine cannot be downloaded .*wrong checksum.*paths\.mine"):
        download(declare(web), data)
    assert not [path for path in (data.folder / "Mine").iterdir() if path.name != ".lock"]
    assert len(web.seen) == 1


def test_the_next_place_is_tried(web: WebServer, data: DataFolder) -> None:
    web.files["/wrong"] = b"another file"
    urls = [f"{web.url}/gone", f"{web.url}/wrong", "nonsense://x", f"{web.url}/file"]
    assert (download(declare(web, urls=urls), data) / "file").read_bytes() == CONTENT


def test_no_place_has_it(web: WebServer, data: DataFolder) -> None:
    web.faults["/file"] = [429] * 5
    with pytest.raises(DatasetNotFound, match=r"\(127\.0\.0\.1: the server returned HTTP 404; 127\.0\.0\.1: .* 429\)"):
        download(declare(web, urls=[f"{web.url}/gone", f"{web.url}/file"]), data)


def test_a_server_that_is_not_there(data: DataFolder, web: WebServer) -> None:
    naps = Naps()
    with pytest.raises(DatasetNotFound, match="the connection failed or broke"):
        download(declare(web, urls=["http://127.0.0.1:9/file"]), data, naps)
    assert naps.seconds == [1.0, 3.0, 10.0, 30.0]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_checksum_in_capitals(web: WebServer, data: DataFolder, algorithm: str) -> None:
    checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}".upper()
    assert (download(declare(web, checksum=checksum), data) / "file").read_bytes() == CONTENT


def test_the_hubs_own_checksum(web: WebServer, data: DataFolder) -> None:
    declared = declare(web, checksum="")
    web.headers["/file"] = {"X-Linked-ETag": f'"{hashlib.sha256(b"other").hexdigest()}"'}
    with pytest.raises(DatasetNotFound, match="wrong checksum"):
        download(declared, data)
    web.headers["/file"] = {"X-Linked-ETag": f'"{hashlib.sha256(CONTENT).hexdigest()}"'}
    assert (download(declared, data) / "file").read_bytes() == CONTENT


def test_a_mirror(web: WebServer, data: DataFolder) -> None:
    web.files["/sets/mine/file"] = CONTENT
    declared = declare(web, urls=["http://127.0.0.1:9/file"])
    mirrored = DataFolder(data.folder, mirror=f"{web.url}/sets/")
    assert (download(declared, mirrored) / "file").read_bytes() == CONTENT


def test_two_at_a_time_share_one_download(web: WebServer, data: DataFolder) -> None:
    declared = declare(web)
    threads = [threading.Thread(target=download, args=(declared, data)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(web.seen) == 1
    assert declared.find(None, data) is not None


def test_a_folder_that_cannot_be_written(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DatasetError, match=r"The data set mine cannot be stored in .*data\.folder"):
        download(declare(web), DataFolder(tmp_path / "data"))


@pytest.mark.parametrize("fault", ["length:many", "length:-5", f"length:{'9' * 5000}", "part-unasked"])
def test_a_length_or_a_part_that_makes_no_sense_costs_one_try_at_most(
    web: WebServer, data: DataFolder, fault: str
) -> None:
    web.faults["/file"] = [fault]
    assert (download(declare(web), data) / "file").read_bytes() == CONTENT


def test_a_server_without_the_part_that_nobody_asked_for(web: WebServer, data: DataFolder) -> None:
    web.faults["/file"] = [416]
    with pytest.raises(DatasetNotFound, match="the server returned HTTP 416"):
        download(declare(web), data)


@pytest.mark.parametrize("off_by", [-1000, 1000])
def test_a_wrong_length_never_gives_another_file(web: WebServer, data: DataFolder, off_by: int) -> None:
    web.faults["/file"] = [f"length:{len(CONTENT) + off_by}"]
    declared = declare(web)
    if off_by < 0:
        with pytest.raises(DatasetNotFound, match="wrong checksum"):
            download(declared, data)
    assert (download(declared, data) / "file").read_bytes() == CONTENT


def test_a_server_that_redirects_in_a_circle_is_left_at_once(web: WebServer, data: DataFolder) -> None:
    web.faults["/file"] = ["redirect"] * 100
    naps = Naps()
    with pytest.raises(DatasetNotFound, match="the server redirects more than 10 times"):
        download(declare(web), data, naps)
    assert naps.seconds == []


def test_a_full_disk(web: WebServer, data: DataFolder) -> None:
    (data.folder / "Mine").mkdir(parents=True)
    (data.folder / "Mine" / ".file.part").symlink_to("/dev/full")
    with pytest.raises(DatasetError, match=r"No space left on device\. Free disk space, or set data\.folder"):
        download(declare(web), data)
    assert len(web.seen) == 1


def archive_of(folder: Path, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.rglob("*")):
                packed.write(path, Path("top") / path.relative_to(folder))
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as packed_tar:
            packed_tar.add(folder, "top")
    return buffer.getvalue()


def declared_like(name: str, directory: Path, archive: bytes, file: str, url: str) -> dict[str, Any]:
    """Return a catalog with one of its entries, whose archive is replaced."""
    node = {**entry(name).node}
    checksum = f"md5:{hashlib.md5(archive).hexdigest()}"
    node["entry"] = {**node["entry"], "downloads": [{"file": file, "checksum": checksum, "urls": [url]}]}
    (directory / "dataset").mkdir(parents=True)
    (directory / "dataset" / f"{name}.yaml").write_text(yaml.safe_dump(node))
    return node


@pytest.mark.parametrize(("name", "kind", "file"), [("cifar10", "tar", "c.tar.gz"), ("emnist", "zip", "gzip.zip")])
def test_an_archive_is_taken_apart_and_read(
    web: WebServer, data: DataFolder, tmp_path: Path, name: str, kind: str, file: str
) -> None:
    tiny.write(name, tmp_path / "published")
    web.files[f"/{file}"] = archive = archive_of(tmp_path / "published", kind)
    declared_like(name, tmp_path / "conf", archive, file, f"{web.url}/{file}")
    choice = Catalog(data, directory=tmp_path / "conf").resolve(name)
    assert not choice.ready
    source = build(choice.node(data))  # downloads when the data is needed
    assert len(source.load("test")) == max(20, 2 * tiny.CLASSES[name])
    folder = data.folder / entry(name).folder
    assert set(read_sums(folder)) == set(entry(name).files)
    assert not (folder / file).exists()
    assert Catalog(data, directory=tmp_path / "conf").resolve(name).ready


def test_an_archive_that_lacks_a_file_or_points_elsewhere(web: WebServer, data: DataFolder) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in (("../../escaped", b"x"), ("/abs/other", b"y"), ("deep/down/file", b"right")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("file2")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    web.files["/a.tgz"] = buffer.getvalue()
    item = {"file": "a.tgz", "urls": [f"{web.url}/a.tgz"]}
    folder = download(declare(web, downloads=[item], files=["file", "other"]), data)
    assert {path.name for path in folder.iterdir()} == {".lock", "SHA256SUMS", "file", "other"}
    assert (folder / "file").read_bytes() == b"right"
    with pytest.raises(DatasetError, match=r"a\.tgz does not contain file2"):
        download(declare(web, downloads=[item], files=["file2"]), data)
    for damaged in (buffer.getvalue()[:-20], b"\x1f\x8b nonsense", encrypted_zip()):
        web.files["/a.tgz"] = damaged
        with pytest.raises(DatasetError, match=r"a\.tgz is damaged"):
            download(declare(web, downloads=[item], files=["missing"]), data)
    web.files["/a.zip"] = encrypted_zip()
    with pytest.raises(DatasetError, match=r"a\.zip is damaged"):
        download(declare(web, downloads=[{"file": "a.zip", "urls": [f"{web.url}/a.zip"]}], files=["missing"]), data)


def test_an_archive_that_the_disk_has_no_room_for_is_not_downloaded_again(web: WebServer, data: DataFolder) -> None:
    web.files["/a.zip"] = archive_of_one("file", CONTENT)
    item = {"file": "a.zip", "checksum": "", "urls": [f"{web.url}/a.zip"]}
    in_the_way = data.folder / "Mine" / "file"
    in_the_way.mkdir(parents=True)  # an error of the disk, such as that of a full one
    with pytest.raises(DatasetError, match="cannot be stored"):
        download(declare(web, downloads=[item]), data)
    in_the_way.rmdir()
    folder = download(declare(web, downloads=[item]), data)
    assert (folder / "file").read_bytes() == CONTENT
    assert [wanted for _, wanted in web.seen] == [None, f"bytes={len(web.files['/a.zip'])}-"]
    assert not list(folder.glob(".*.part"))


def archive_of_one(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr(name, content)
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    """Return an archive with one member that claims to need a password."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("missing", b"x" * 100)
    content = bytearray(buffer.getvalue())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    return bytes(content)


def test_texts_as_the_hub_has_them(web: WebServer, data: DataFolder, tmp_path: Path) -> None:
    tiny.write("agnews", tmp_path / "published")
    for path in (tmp_path / "published" / "agnews").rglob("*.parquet"):
        web.files[f"/agnews/{path.relative_to(tmp_path / 'published' / 'agnews')}"] = path.read_bytes()
    mirrored = DataFolder(data.folder, mirror=web.url)
    source = build(Catalog(mirrored).resolve("agnews").node(mirrored))
    assert len(source.load("test")) == 20
    assert Catalog(DataFolder(data.folder, download=False)).resolve("agnews").ready


def wait_for_downloads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("download-"):
            thread.join(30)


def test_background_downloads_say_how_far_they_are(web: WebServer, data: DataFolder) -> None:
    now = [0.0]
    downloads = BackgroundDownloads(data, monotonic=lambda: now[0])
    declared = declare(web)
    with pytest.raises(DatasetNotReady, match="the data set mine is being downloaded"):
        downloads.ensure(declared)
    wait_for_downloads()
    downloads.ensure(declared)
    assert len(web.seen) == 1


def test_a_background_download_with_an_internal_error_waits_too(web: WebServer, data: DataFolder) -> None:
    now = [0.0]
    downloads = BackgroundDownloads(data, monotonic=lambda: now[0])
    declared = declare(web, urls=["http://[/file"])
    with pytest.raises(DatasetNotReady, match="is being downloaded"):
        downloads.ensure(declared)
    wait_for_downloads()
    with pytest.raises(DatasetNotReady, match=r"internal error \(.*\)\. See logs"):
        downloads.ensure(declared)
    now[0] = RETRY_AFTER
    with pytest.raises(DatasetNotReady, match="is being downloaded"):
        downloads.ensure(declared)
    wait_for_downloads()


def test_downloads_that_lack_a_file_of_the_data_set(web: WebServer, data: DataFolder) -> None:
    now = [0.0]
    downloads = BackgroundDownloads(data, monotonic=lambda: now[0])
    declared = declare(web, files=["file", "other"])
    said = r"The downloads of the data set mine do not contain all of its files\. Correct entry\.files"
    with pytest.raises(DatasetError, match=said):
        download(declared, data)
    with pytest.raises(DatasetNotReady, match="is being downloaded"):
        downloads.ensure(declared)
    wait_for_downloads()
    for _ in range(2):
        with pytest.raises(DatasetNotReady, match=said):
            downloads.ensure(declared)
    now[0] = RETRY_AFTER
    with pytest.raises(DatasetNotReady, match="is being downloaded"):
        downloads.ensure(declared)
    wait_for_downloads()


def test_a_background_download_that_failed_is_tried_again_later(web: WebServer, data: DataFolder) -> None:
    now = [0.0]
    downloads = BackgroundDownloads(data, monotonic=lambda: now[0])
    declared = declare(web)
    ended: list[bool] = []
    downloads.on_end(lambda: ended.append(declared.find(None, data) is not None))
    web.faults["/file"] = [404]
    with pytest.raises(DatasetNotReady, match="is being downloaded"):
        downloads.ensure(declared)
    wait_for_downloads()
    with pytest.raises(DatasetNotReady, match="cannot be downloaded"):
        downloads.ensure(declared)
    now[0] = RETRY_AFTER
    with pytest.raises(DatasetNotReady, match="is being downloaded"):
        downloads.ensure(declared)
    wait_for_downloads()
    downloads.ensure(declared)
    assert ended == [False, True]
    assert json.dumps(web.seen) == json.dumps([("/file", None)] * 2)
