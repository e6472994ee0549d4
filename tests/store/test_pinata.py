"""Pinata's two APIs: the credentials select the API, large files are sent in pieces, and errors contain no key."""

from __future__ import annotations

import logging
import random
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from decloud_pl.errors import ConfigError, DecloudError, InvalidCid, StoreError, StoreRejected, StoreUnavailable
from decloud_pl.retry import Retry
from decloud_pl.store import Store
from decloud_pl.store.pinata import PinataCredentials, PinataStore
from decloud_pl.store.pinata.http import FileForm
from decloud_pl.store.sending import SentFile
from tests.store.conformance import StoreConformance
from tests.store.fakes.oracle import cid_of
from tests.store.fakes.pinata import JWT, KEY, SECRET, FakePinata
from tests.store.fakes.server import Fault, Request, cut_answer, cut_request, not_json, silent, status

DATA = random.Random(23).randbytes(700_001)
PAIR = PinataCredentials(api_key=KEY, secret_key=SECRET)
BEARER = PinataCredentials(jwt=JWT)
BY_VERSION = {"v1": PAIR, "v3": BEARER}
PATHS = {"v1": "/pinning/pinFileToIPFS", "v3": "/v3/files"}


@pytest.fixture
def pinata() -> Iterator[FakePinata]:
    with FakePinata() as made:
        yield made


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "update.pt"
    path.write_bytes(DATA)
    return path


def store_of(
    pinata: FakePinata,
    credentials: PinataCredentials,
    waits: list[float] | None = None,
    *,
    state: Path | None = None,
    largest_single: int = 100_000_000,
    timeout: float = 5.0,
    attempts: int = 4,
) -> PinataStore:
    return PinataStore(
        credentials,
        api_url=pinata.url,
        upload_url=pinata.url,
        timeout=timeout,
        state=state,
        retry=Retry(attempts, sleep=(waits if waits is not None else []).append),
        largest_single=largest_single,
    )


class PinataConformance(StoreConformance):
    def kept(self, store: Store, cid: str) -> bytes | None:
        return self.pinata.files.get(cid)

    @pytest.fixture(autouse=True)
    def _pinata(self, pinata: FakePinata) -> None:
        self.pinata = pinata


class TestV1(PinataConformance):
    @pytest.fixture
    def store(self, pinata: FakePinata) -> PinataStore:
        return store_of(pinata, PAIR)


class TestV3(PinataConformance):
    @pytest.fixture
    def store(self, pinata: FakePinata) -> PinataStore:
        return store_of(pinata, BEARER)


class TestV3InPieces(PinataConformance):
    @pytest.fixture
    def store(self, pinata: FakePinata, tmp_path: Path) -> PinataStore:
        return store_of(pinata, BEARER, largest_single=250_000, state=tmp_path / "state")


def test_the_credentials_choose_the_api(pinata: FakePinata, source: Path) -> None:
    both = PinataCredentials(api_key=KEY, secret_key=SECRET, jwt=JWT)
    for credentials, path in ((PAIR, PATHS["v1"]), (BEARER, PATHS["v3"]), (both, PATHS["v3"])):
        pinata.log.clear()
        store_of(pinata, credentials).put(source)
        assert pinata.log == [("POST", path)]
    assert pinata.networks == ["public", "public"]


@pytest.mark.parametrize(("profile", "version"), [("kubo-v1", 1), ("kubo-v0", 0)])
def test_the_first_api_is_told_the_version(profile: str, version: int, pinata: FakePinata, source: Path) -> None:
    assert store_of(pinata, PAIR).put(source, profile).cid == cid_of(DATA, version)


def test_the_name_is_sent_in_ascii(pinata: FakePinata, tmp_path: Path) -> None:
    path = tmp_path / 'up"d\r\nate ü.pt'
    path.write_bytes(b"x")
    store_of(pinata, PAIR).put(path)
    store_of(pinata, BEARER).put(path)
    assert pinata.names == ["up_d__ate__.pt"] * 2


@pytest.mark.parametrize("version", BY_VERSION)
@pytest.mark.parametrize("data", [b"", b"\r\n--", DATA], ids=["empty", "like-a-boundary", "some-pieces"])
def test_the_form_is_read_as_it_was_meant(version: str, data: bytes, pinata: FakePinata, source: Path) -> None:
    source.write_bytes(data)
    assert pinata.files == {store_of(pinata, BY_VERSION[version]).put(source).cid: data}
    assert pinata.names == [source.name]


def test_a_form_is_never_in_memory_as_a_whole_and_has_the_length_it_says(source: Path) -> None:
    with SentFile(source) as file:
        form = FileForm({"network": "public"}, file)
        pieces = list(form)
    assert sum(map(len, pieces)) == len(form)
    assert max(map(len, pieces)) < len(DATA) / 2
    with SentFile(source) as file:
        form = FileForm({}, file)
        source.write_bytes(DATA[:1000])
        with pytest.raises(StoreError, match="became shorter during the upload"):
            list(form)


@pytest.mark.parametrize("version", BY_VERSION)
def test_the_check_asks_for_the_login(version: str, pinata: FakePinata) -> None:
    assert store_of(pinata, BY_VERSION[version]).check() == f"Pinata accepts the credentials (API {version})."
    assert pinata.log == [("GET", "/data/testAuthentication")]


@pytest.mark.parametrize("version", BY_VERSION)
def test_what_is_pinned_is_known(version: str, pinata: FakePinata, source: Path) -> None:
    store = store_of(pinata, BY_VERSION[version])
    cid = cid_of(DATA, 1)
    assert store.has(cid) is False
    store.put(source)
    assert store.has(cid) is True
    with pytest.raises(InvalidCid):
        store.has("../x")


@pytest.mark.parametrize("largest_single", [100_000_000, 250_000])
@pytest.mark.parametrize("version", BY_VERSION)
def test_progress_is_told_to_the_end(
    version: str, largest_single: int, pinata: FakePinata, source: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    store = store_of(pinata, BY_VERSION[version], largest_single=largest_single)
    store.put(source, progress=lambda sent, total: told.append((sent, total)))
    assert told[-1] == (len(DATA), len(DATA))


@pytest.mark.parametrize("version", BY_VERSION)
@pytest.mark.parametrize(
    ("faults", "kind", "sentence", "waited"),
    [
        ([status(401)], StoreRejected, "does not accept the credentials", 0),
        ([status(403)], StoreRejected, "does not permit this", 0),
        ([status(413)], StoreRejected, "does not accept a file of this size", 0),
        ([status(400)], StoreRejected, "refused the request with HTTP 400", 0),
        ([status(302, Location="http://127.0.0.1:9/")], StoreRejected, "HTTP 302", 0),
        ([status(500)] * 4, StoreUnavailable, "HTTP 500", 3),
        ([status(429, Retry_After="60")], StoreUnavailable, "limits the request rate for 60 s", 0),
        ([status(429, Retry_After="7")] * 4, StoreUnavailable, "limits the request rate for 7 s", 3),
        ([status(429)] * 4, StoreUnavailable, "limits the request rate", 3),
        ([not_json] * 4, StoreUnavailable, "has no text at", 3),
        ([cut_answer] * 4, StoreUnavailable, "closed the connection|failed", 3),
        ([cut_request] * 4, StoreUnavailable, "closed the connection|failed", 3),
    ],
    ids=["401", "403", "413", "400", "302", "500", "429 long", "429 short", "429", "no JSON", "cut answer", "cut"],
)
def test_what_goes_wrong_gets_a_sentence(
    faults: list[Fault],
    kind: type[DecloudError],
    sentence: str,
    waited: int,
    version: str,
    pinata: FakePinata,
    source: Path,
    waits: list[float],
) -> None:
    pinata.faults = list(faults)
    with pytest.raises(kind, match=sentence) as refused:
        store_of(pinata, BY_VERSION[version], waits).put(source)
    assert type(refused.value) is kind
    assert (
        refused.value.fix or kind is StoreUnavailable
    )  # a temporary failure needs no fix: the caller reports that it retries
    assert len(waits) == waited
    assert pinata.count("POST", PATHS[version]) == waited + 1


@pytest.mark.parametrize("version", BY_VERSION)
def test_three_errors_are_bridged(version: str, pinata: FakePinata, source: Path, waits: list[float]) -> None:
    pinata.faults = [status(500)] * 3
    assert store_of(pinata, BY_VERSION[version], waits).put(source).cid == cid_of(DATA, 1)
    assert waits == [0.5, 1.0, 2.0]
    assert pinata.uploads == 1


@pytest.mark.parametrize("version", BY_VERSION)
def test_missing_scopes_name_what_to_do(version: str, pinata: FakePinata, source: Path) -> None:
    pinata.scopes = set()
    with pytest.raises(StoreRejected, match="NO_SCOPES_FOUND") as refused:
        store_of(pinata, BY_VERSION[version]).put(source)
    assert "permission" in refused.value.fix


def test_a_silent_server_is_given_up(pinata: FakePinata, source: Path) -> None:
    pinata.faults = [silent]
    with pytest.raises(StoreUnavailable, match=r"within 0\.2 s"):
        store_of(pinata, BEARER, timeout=0.2, attempts=1).put(source)


def test_an_endless_answer_is_refused(pinata: FakePinata, source: Path) -> None:
    def endless(request: Request) -> None:
        request.body()
        request.send(200, b" " * (3 << 20), {})

    pinata.faults = [endless]
    with pytest.raises(StoreUnavailable, match="longer than"):
        store_of(pinata, BEARER, attempts=1).put(source)


def in_pieces(pinata: FakePinata, waits: list[float], state: Path | None, *, attempts: int = 4) -> PinataStore:
    return store_of(pinata, BEARER, waits, largest_single=250_000, state=state, attempts=attempts)


def test_a_large_file_goes_in_pieces(pinata: FakePinata, source: Path, waits: list[float]) -> None:
    assert in_pieces(pinata, waits, None).put(source).cid == cid_of(DATA, 1)
    assert pinata.count("PATCH", "/v3/files/up-0") == 3
    assert pinata.networks == ["public"]


@pytest.mark.parametrize("cuts", [[1000], [0], [250_000], [1000, 2000, 3000]])
def test_a_broken_piece_goes_on_where_it_broke(
    cuts: list[int], pinata: FakePinata, source: Path, waits: list[float]
) -> None:
    pinata.cut_pieces = list(cuts)
    assert in_pieces(pinata, waits, None).put(source).cid == cid_of(DATA, 1)
    assert len(pinata.resumables) == 1
    assert pinata.uploads == 1
    assert waits == []


def test_another_process_goes_on_where_the_last_one_ended(
    pinata: FakePinata, source: Path, waits: list[float], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    pinata.faulty = lambda request: request.method == "PATCH" and bool(pinata.resumables["up-0"].data)
    pinata.faults = [status(401)]  # ends the first attempt after the first piece
    with pytest.raises(StoreRejected):
        in_pieces(pinata, waits, state).put(source)
    assert len(list(state.iterdir())) == 1
    sent: list[int] = []
    stored = in_pieces(pinata, waits, state).put(source, progress=lambda done, total: sent.append(done))
    assert stored.cid == cid_of(DATA, 1)
    assert pinata.count("POST", "/v3/files") == 1
    assert min(sent) > 250_000, "the first piece must not be sent again"
    assert list(state.iterdir()) == []


def test_a_lost_last_answer_is_asked_for(pinata: FakePinata, source: Path, waits: list[float]) -> None:
    def take_and_break_off(request: Request) -> None:
        upload = pinata.resumables["up-0"]
        upload.data += request.body()
        pinata.files[cid_of(bytes(upload.data), 1)] = bytes(upload.data)
        request.hang_up()

    pinata.faulty = lambda request: request.method == "PATCH" and len(pinata.resumables["up-0"].data) == 500_000
    pinata.faults = [take_and_break_off]
    assert in_pieces(pinata, waits, None).put(source).cid == cid_of(DATA, 1)


def test_an_expired_upload_is_begun_anew(pinata: FakePinata, source: Path, waits: list[float], tmp_path: Path) -> None:
    state = tmp_path / "state"
    pinata.faulty = lambda request: request.method == "PATCH"
    pinata.faults = [status(401)]
    with pytest.raises(StoreRejected):
        in_pieces(pinata, waits, state).put(source)
    pinata.resumables["up-gone"] = pinata.resumables.pop("up-0")
    assert in_pieces(pinata, waits, state).put(source).cid == cid_of(DATA, 1)
    assert pinata.count("POST", "/v3/files") == 2


def test_damaged_memory_of_an_upload_does_no_harm(
    pinata: FakePinata, source: Path, waits: list[float], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    pinata.faulty = lambda request: request.method == "PATCH"
    for content in ("", "[]", '{"location": 5}', '{"location": "http://elsewhere.invalid/v3/files/up-0"}'):
        pinata.faults = [status(401)]
        with pytest.raises(StoreRejected):
            in_pieces(pinata, waits, state).put(source)
        (memory,) = state.iterdir()
        memory.write_text(content)
        assert in_pieces(pinata, waits, state).put(source).cid == cid_of(DATA, 1)


def test_a_server_that_takes_nothing_is_given_up(pinata: FakePinata, source: Path, waits: list[float]) -> None:
    pinata.cut_pieces = [0] * 50
    with pytest.raises(StoreUnavailable, match="accepted no more bytes"):
        in_pieces(pinata, waits, None, attempts=1).put(source)
    assert len(pinata.cut_pieces) == 47


@pytest.mark.parametrize("host", ["http://elsewhere.invalid", "https://127.0.0.1:1", "//elsewhere.invalid"])
def test_the_key_is_not_sent_elsewhere(host: str, pinata: FakePinata, source: Path, waits: list[float]) -> None:
    pinata.location_host = host
    with pytest.raises(StoreRejected, match="another host"):
        in_pieces(pinata, waits, None).put(source)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({}, "PINATA_JWT"),
        ({"api_key": KEY}, "PINATA_SECRET_KEY"),
        ({"secret_key": SECRET}, "PINATA_API_KEY"),
        ({"api_key": " ", "secret_key": "\n"}, "PINATA_JWT"),
    ],
)
def test_missing_credentials_are_named(values: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        PinataCredentials(**values)


@pytest.mark.parametrize("jwt", [f"{JWT}\r\nX: y", "schlüssel", "a b", "a\0b"])
def test_a_key_that_is_none_is_refused_without_being_shown(jwt: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PinataCredentials(jwt=jwt)
    assert jwt[:5] not in str(refused.value)


def test_white_space_around_a_key_does_not_matter(pinata: FakePinata) -> None:
    store_of(pinata, PinataCredentials(jwt=f"  {JWT}\n")).check()


@pytest.mark.parametrize("url", ["http://api.pinata.cloud", "ftp://x", "", "api.pinata.cloud"])
def test_a_key_does_not_travel_in_the_clear(url: str) -> None:
    with pytest.raises(ConfigError, match="https"):
        PinataStore(BEARER, api_url=url)
    with pytest.raises(ConfigError, match="https"):
        PinataStore(BEARER, upload_url=url)


def everything_of(error: BaseException) -> str:
    """Return everything that an error could print: its causes, their attributes, and the traceback with locals."""
    own = error.__traceback__
    assert own is not None
    # Skip the first frame: it is the test's, and its locals hold the key.
    shown = traceback.TracebackException(type(error), error, own.tb_next, capture_locals=True)
    texts = ["".join(shown.format())]
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        texts += [repr(value), str(value)]
        if isinstance(value, BaseException):
            todo += [value.__cause__, value.__context__, *value.args, *vars(value).values()]
        elif hasattr(value, "headers"):  # a request or a response in an error
            todo += [dict(value.headers), getattr(value, "request", None), getattr(value, "body", None)]
    return "\n".join(texts)


FAILINGS: dict[str, list[Fault]] = {
    "401 that repeats the key": [],
    "500": [status(500)] * 9,
    "429": [status(429, Retry_After="99")],
    "cut answer": [cut_answer] * 9,
    "cut request": [cut_request] * 9,
    "no JSON": [not_json] * 9,
    "redirect": [status(302, Location="http://127.0.0.1:9/x")],
}


@pytest.mark.parametrize("version", BY_VERSION)
@pytest.mark.parametrize("failing", FAILINGS)
def test_a_key_is_in_no_error_and_no_log(
    failing: str,
    version: str,
    pinata: FakePinata,
    source: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    good = BY_VERSION[version]
    wrong = PinataCredentials(
        api_key=good.api_key, secret_key=good.secret_key and "f" * 64, jwt=good.jwt and f"wrong.{JWT}"
    )
    credentials = good if FAILINGS[failing] else wrong
    secrets = [value for value in (credentials.secret_key, credentials.jwt, credentials.api_key) if value]
    store = store_of(pinata, credentials)
    pinata.faults = list(FAILINGS[failing])
    with pytest.raises(DecloudError) as caught:
        store.put(source)
    printed = "".join(capfd.readouterr())
    texts = [everything_of(caught.value), caplog.text, printed, repr(store), repr(credentials), str(vars(store))]
    assert [secret for secret in secrets for text in texts if secret in text] == []
    sent = [value for headers in pinata.seen_headers for value in headers.values()]
    assert any(secret in value for secret in secrets for value in sent), "the test must use the key"


def test_an_unreachable_server_shows_no_key(source: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        store = PinataStore(BEARER, api_url=url, upload_url=url, retry=Retry(attempts=1))
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            store.put(source)
    assert JWT not in everything_of(caught.value)


def test_the_search_for_keys_would_find_one() -> None:
    def fail(secret: str) -> None:
        raise ValueError("nothing in the message")

    with pytest.raises(ValueError, match="nothing") as caught:
        fail(JWT)
    assert JWT in everything_of(caught.value)
