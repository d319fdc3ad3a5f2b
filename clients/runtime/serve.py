"""Run a client: one process, one asyncio loop, one web application on the loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from clients.runtime.guard import TOKEN_BITS, Guard, refusal
from clients.runtime.node import Node
from printer.web_font import chinese_font
from sync_core.errors import NahuoError, RefusedError
from sync_core.storage import plain_error

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a client is started. `port` 0 takes a free one; `framed_by` may show the pages in a frame (a demonstration)."""

    data: Path
    server: str | None = None
    """Kept after the first start."""
    enroll: str | None = None
    port: int = 0
    host: str = "127.0.0.1"
    printer: str | None = None
    language: str = "tspl"
    waybill_printer: str | None = None
    waybill_language: str = "tspl"
    framed_by: str | None = None
    synchronous: str = "FULL"
    token: str | None = None


def build_app(
    routes: Sequence[BaseRoute],
    *,
    port: int,
    token: str,
    framed_by: str | None = None,
    plain: Callable[[sqlite3.Error], NahuoError | None] = plain_error,
) -> ASGIApp:
    """Return the guarded application of a client's routes. `plain` says what a fault of the disk is, and hears of it."""
    folder = Path(__file__).parent / "static"

    async def disk_fault(request: Request, error: Exception) -> Response:
        assert isinstance(error, sqlite3.Error)
        told = plain(error)
        return refusal(request, told.code if told is not None else "invariant")

    inner = Starlette(
        routes=[*routes, FONT, Mount("/static", StaticFiles(directory=folder), name="static")],
        exception_handlers={sqlite3.Error: disk_fault, Exception: _our_fault},
    )
    return Guard(inner, port=port, token=token, framed_by=framed_by)


async def _font(request: Request) -> Response:  # noqa: ARG001 - the signature is Starlette's
    try:
        content = chinese_font()
    except FileNotFoundError:
        return Response(status_code=404)
    return Response(content, media_type="font/ttf", headers={"Cache-Control": "max-age=604800"})


FONT: Final = Route("/font/chinese.ttf", _font)
"""For browsers on a machine without any Chinese font; static/frame.css names it last."""


async def _our_fault(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette logs the error itself
    """Nothing of the action is on the disk: its transaction was undone."""
    return refusal(request, "invariant")


def new_token() -> str:
    """Return a token of 128 bits for one launch."""
    return secrets.token_hex(TOKEN_BITS // 8)


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket on the loopback address.

    Raises:
        RefusedError: another address, or the port is taken.
    """
    if host not in LOOPBACK:
        raise RefusedError("serve.host", f"a client listens on 127.0.0.1 only, not on {host}")
    # Named as TCP, accepted sockets send at once (asyncio sets TCP_NODELAY); else each page waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise RefusedError("serve.port", f"port {port} is taken: choose another with --port") from error
    listener.listen(64)
    return listener


async def serve(node: Node, app: ASGIApp, listener: socket.socket, *, ready: str, damaged: asyncio.Event) -> None:
    """Serve until SIGTERM, SIGINT or `damaged`, then close everything in order; prints `ready` when the first request would be answered."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    web = asyncio.create_task(_serve_web(server, listener))
    work = asyncio.create_task(node.run())
    asked = asyncio.create_task(stopped.wait())
    hurt = asyncio.create_task(damaged.wait())
    print(ready, flush=True)
    try:
        done, _ = await asyncio.wait({web, work, asked, hurt}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {asked, hurt}:
            task.result()
    finally:
        server.should_exit = True
        work.cancel()
        asked.cancel()
        hurt.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        await asyncio.wait({web}, timeout=5)
        node.close()


async def _serve_web(server: uvicorn.Server, listener: socket.socket) -> None:
    # Signals are ours: uvicorn would raise them again after its shutdown and skip the closing of the replica.
    await server._serve([listener])
