"""The store's HTTP gateway: serves ``GET /ipfs/<cid>`` as a file, a raw block or a CAR archive.

Implements the parts of https://specs.ipfs.tech/http-gateways/ that clients need for single files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import BinaryIO

from aiohttp import web

from decloud_pl.errors import ContentNotFound, InvalidCid, StoreError
from decloud_pl.localnet.rpc.server import HOST, bind
from decloud_pl.store import Stored
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.ipfs.car import CONTENT_TYPE as CAR_TYPE

logger = logging.getLogger(__name__)

RAW_TYPE = "application/vnd.ipld.raw"
_CHUNK = 1 << 18
_FOREVER = "public, max-age=29030400, immutable"


class GatewayServer:
    """Serves a store while the context is open.

    Args:
        store: the store to serve.
        port: the HTTP port; 0 means any free port.

    Raises:
        LocalnetError: the port is in use.
    """

    def __init__(self, store: EmbeddedStore, *, port: int) -> None:
        self._store = store
        self._port = port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    async def __aenter__(self) -> GatewayServer:
        bound = bind(self._port)
        self._port = bound.getsockname()[1]
        application = web.Application()
        application.router.add_get("/ipfs/{cid}", self._serve)  # answers HEAD as well
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, bound).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        cid = request.match_info["cid"]
        try:
            stored = await asyncio.to_thread(self._store.stat, cid)
            form = _form(request)
            if form == "raw":
                return await self._block(request, stored)
            if form == "car":
                return await self._car(request, stored)
            return await self._file(request, stored)
        except InvalidCid as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        except ContentNotFound as error:
            raise web.HTTPNotFound(text=f"{error}\n") from error
        except ConnectionResetError as error:  # the client has disconnected, so the status does not matter
            raise web.HTTPRequestTimeout from error
        except StoreError as error:
            logger.warning("The gateway cannot serve %s: %s", cid, error)
            raise web.HTTPInternalServerError(text="The store's copy is damaged.\n") from error

    async def _block(self, request: web.Request, stored: Stored) -> web.Response:
        block = await asyncio.to_thread(self._store.block, stored.cid)
        return web.Response(body=block, headers=_headers(request, stored, RAW_TYPE, "raw"))

    async def _car(self, request: web.Request, stored: Stored) -> web.StreamResponse:
        sections = self._store.car(stored.cid)
        first = await asyncio.to_thread(next, sections)  # verifies the whole file before the first byte is sent
        content_type = f"{CAR_TYPE}; version=1; order=dfs; dups=y"
        response = web.StreamResponse(headers=_headers(request, stored, content_type, "car"))
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await response.write(first)
        await self._pour(response, lambda: b"".join(_some(sections)))
        return response

    async def _file(self, request: web.Request, stored: Stored) -> web.StreamResponse:
        file = await asyncio.to_thread(self._store.open, stored.cid)
        try:
            part = _range(request, stored.size)
            headers = _headers(request, stored, "application/octet-stream", "file")
            headers["Accept-Ranges"] = "bytes"
            headers["Content-Length"] = str(part.stop - part.start)
            status = 200
            if len(part) != stored.size:
                status = 206
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{stored.size}"
            response = web.StreamResponse(status=status, headers=headers)
            await response.prepare(request)
            if request.method != "HEAD":
                await self._pour(response, _reader(file, part))
            return response
        finally:
            file.close()

    async def _pour(self, response: web.StreamResponse, read: Callable[[], bytes]) -> None:
        with contextlib.suppress(ConnectionResetError):  # clients may disconnect at any time
            while chunk := await asyncio.to_thread(read):
                await response.write(chunk)
            await response.write_eof()


def _form(request: web.Request) -> str:
    """Return the requested form: ``file``, ``raw`` or ``car``.

    The query parameter ``format`` overrides the Accept header.
    """
    asked = request.query.get("format")
    if asked is not None:
        if asked not in ("raw", "car"):
            raise web.HTTPBadRequest(text="The format must be raw or car.\n")
        return asked
    accepted = request.headers.get("Accept", "")
    if CAR_TYPE in accepted:
        return "car"
    return "raw" if RAW_TYPE in accepted else "file"


def _headers(request: web.Request, stored: Stored, content_type: str, form: str) -> dict[str, str]:
    tag = f'"{stored.cid}"' if form == "file" else f'"{stored.cid}.{form}"'
    if request.headers.get("If-None-Match") == tag:
        raise web.HTTPNotModified(headers={"ETag": tag})
    return {
        "Content-Type": content_type,
        "ETag": tag,
        "Cache-Control": _FOREVER,
        "X-Ipfs-Path": f"/ipfs/{stored.cid}",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": "*",
    }


def _range(request: web.Request, size: int) -> range:
    """Return the range of bytes to send: the requested range, or the whole file."""
    try:
        asked = request.http_range
    except ValueError:
        return range(size)  # several ranges or an invalid range: the protocol allows the whole file as the answer
    start, stop, _ = asked.indices(size)
    if start >= stop and size:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return range(start, stop)


def _reader(file: BinaryIO, part: range) -> Callable[[], bytes]:
    left = len(part)
    file.seek(part.start)

    def read() -> bytes:
        nonlocal left
        chunk = file.read(min(_CHUNK, left))
        left -= len(chunk)
        return chunk

    return read


def _some(sections: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the next sections of a CAR archive: as many as fill one write, or all that are left."""
    size = 0
    for section in sections:
        yield section
        size += len(section)
        if size >= _CHUNK:
            return
