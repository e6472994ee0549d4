"""A store on an IPFS node (Kubo), used through the RPC API ``/api/v0`` (https://docs.ipfs.tech/reference/kubo/rpc/)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decloud_pl.errors import (
    ConfigError,
    StoreError,
    StoreRejected,
    StoreUnavailable,
)
from decloud_pl.legible import legible
from decloud_pl.retry import Retry, retry_after
from decloud_pl.store import Progress, Stored
from decloud_pl.store.http_status import status_error
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE, PROFILES, Cid
from decloud_pl.store.sending import SentFile

if TYPE_CHECKING:
    import requests

DEFAULT_ADDRESS = "/ip4/127.0.0.1/tcp/5001/http"
OLDEST_VERSION = (0, 5, 0)
_FULL = re.compile(r"no space left|disk quota|quota exceeded|repo is full|not enough space", re.IGNORECASE)
_LONGEST_WORDS = 200


class KuboStore:
    """A store on an IPFS node.

    Every request has a time limit. This class does not verify the CIDs that the node returns. The callers verify them.

    Args:
        address: the multiaddr of the node's RPC: ``/ip4/127.0.0.1/tcp/5001/http`` or ``/dns/node/tcp/443/https``.
        timeout: the most seconds to wait for a connection or for the next byte of an answer.
        retry: how to retry after temporary failures.

    Raises:
        ConfigError: ``address`` is not the multiaddr of a node, or the proxy or the certificates are wrong; see
            `route_to`.
    """

    name = "kubo"

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout: float = 60.0, retry: Retry | None = None) -> None:
        from decloud_pl.store.kubo_session import check_route

        self._address = address
        self._timeout = timeout
        self._retry = retry or Retry()
        self._version_checked = False
        check_route(self._open())

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        """Add a file to the node and pin it. The file is read and sent in pieces.

        Raises:
            StoreUnavailable: the node is down, does not answer in time, or reports an internal error.
            StoreRejected: the node is full, refuses the request, or has a version that this program does not support.
            StoreError: the file cannot be read.
        """
        layout = PROFILES[profile]

        def add() -> Stored:
            if not self._version_checked:
                self.check()
            with SentFile(path, progress) as file, self._exchange() as node:
                # Pass `raw_leaves` explicitly: the library's default is false where Kubo's is true.
                added = node.add(
                    file,
                    pin=True,
                    cid_version=layout.cid_version,
                    raw_leaves=layout.raw_leaves,
                    chunker=f"size-{layout.chunk_size}",
                )
                return Stored(_text(added, "Hash"), profile, file.size)

        return self._retry.call(add)

    def has(self, cid: str) -> bool:
        """Return whether the node has pinned the file with this CID."""
        root = Cid.parse(cid)

        def ask() -> bool:
            try:
                with self._exchange() as node:
                    return str(root) in dict(node.pin.ls(str(root), type="recursive")["Keys"])
            except _NotPinned:
                return False

        return self._retry.call(ask)

    def check(self) -> str:
        """Check that the node answers and that its version is supported; return a sentence with the version.

        Raises:
            StoreUnavailable: the node does not answer, or the answer does not come from Kubo.
            StoreRejected: the node denies access, or its version is not Kubo 0.5 or later.
        """
        with self._exchange() as node:
            version = _text(node.version(), "Version")
        parsed = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
        if parsed is None or tuple(map(int, parsed.groups())) < OLDEST_VERSION:
            raise StoreRejected(
                f"The node at {self._address} has version {version[:40]!r}, which this program does not support.",
                fix="Use Kubo 0.5 or later.",
            )
        self._version_checked = True
        return f"Kubo {version} answers at {self._address}."

    def _open(self) -> Any:
        import ipfshttpclient
        import multiaddr.exceptions

        # The library passes urllib3 a parameter that urllib3 no longer needs. Hide that warning and no other.
        warnings.filterwarnings("ignore", message="The 'strict' parameter is no longer needed", category=FutureWarning)
        try:
            # `connect()` would refuse, or warn about, every Kubo version later than the library.
            return ipfshttpclient.Client(self._address, timeout=self._timeout)
        except (ipfshttpclient.exceptions.AddressError, multiaddr.exceptions.Error, ValueError) as error:
            raise ConfigError(
                f"storage.kubo_address {self._address!r} is not the multiaddr of a node.",
                fix=f"Write it like {DEFAULT_ADDRESS}.",
            ) from error

    @contextmanager
    def _exchange(self) -> Iterator[Any]:
        """Yield an `ipfshttpclient` client for one request. Convert its exceptions into `StoreError`."""
        import ipfshttpclient.exceptions as ipfs
        import requests

        from decloud_pl.http_client import UnusableAnswer
        from decloud_pl.store.kubo_session import LONGEST_EXCHANGE, bounded_session

        where = f"The IPFS node at {self._address}"
        node = self._open()
        try:
            with bounded_session(node) as session:
                yield node
        except (ipfs.TimeoutError, requests.Timeout) as error:
            limit = LONGEST_EXCHANGE if session.expired else self._timeout
            raise StoreUnavailable(
                f"{where} did not answer within {limit:g} s.", fix="Check the node's log and load."
            ) from error
        except ipfs.ConnectionError as error:
            raise StoreUnavailable(
                f"{where} cannot be reached.", fix="Start it with `ipfs daemon`, or correct storage.kubo_address."
            ) from error
        except UnusableAnswer as error:
            raise _no_node(where) from error
        except (ipfs.ProtocolError, requests.RequestException) as error:
            raise StoreUnavailable(
                f"{where} closed the connection before its answer was complete.", fix="Check the node's log."
            ) from error
        except (ipfs.ErrorResponse, ipfs.StatusError) as error:
            raise self._refusal(where, error) from error
        except (ipfs.DecodingError, AssertionError, KeyError, TypeError, ValueError, RecursionError) as error:
            # The library asserts that an answer has exactly one item.
            raise _no_node(where) from error

    def _refusal(self, where: str, error: Exception) -> StoreError:
        import ipfshttpclient.exceptions as ipfs

        words = legible(str(error.args[0]), _LONGEST_WORDS) if isinstance(error, ipfs.ErrorResponse) else ""
        words = " ".join(words.split())
        if "not pinned" in words:
            return _NotPinned(f"{where} has not pinned the file.")
        if _FULL.search(words):
            return StoreRejected(
                f"{where} is full ({words}).", fix="Free disk space there, for example with `ipfs repo gc`."
            )
        response: requests.Response | None = getattr(error.__cause__, "response", None)
        if response is None:
            return StoreUnavailable(f"{where} reports an error ({words}).", fix="Check the node's log.")
        if response.status_code in (401, 403):
            return _not_let_in(where, response, words)
        return status_error(
            response.status_code,
            who=where,
            said=words,
            wait=retry_after(response.headers.get("Retry-After", "")),
            login="the node's own settings",
        )


def _no_node(where: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{where} returned an answer that does not come from Kubo.",
        fix="Set storage.kubo_address to the node's RPC address.",
    )


def _not_let_in(where: str, response: requests.Response, words: str) -> StoreRejected:
    """Return the error for HTTP 401 or 403.

    Kubo returns 403 if ``API.Authorizations`` requires a token, or if it does not allow the ``Origin`` header of the
    request. See ``withAuthSecrets`` in Kubo's ``core/corehttp/commands.go`` and ``allowOrigin`` in
    ``http/handler.go`` of go-ipfs-cmds.
    """
    status = response.status_code
    said = f", {words}" if words else ""
    if status == 401:
        return StoreRejected(
            f"{where} requires a login (HTTP 401{said}), but this program does not send one.",
            fix="In the proxy in front of the node, allow this machine to connect without a login.",
            status=status,
        )
    return StoreRejected(
        f"{where} denies access (HTTP 403{said}). Either its setting API.Authorizations requires a token, which this"
        " program does not send, or a proxy adds an Origin header that the node does not allow.",
        fix="Remove API.Authorizations from the node's configuration, or the Origin header in the proxy.",
        status=status,
    )


class _NotPinned(StoreError):
    """The node answered that it has not pinned a CID."""


def _text(answer: Any, key: str) -> str:
    value = answer[key]
    if not isinstance(value, str):
        raise TypeError(key)
    return value
