"""`nahuo server`: serve a folder until told to stop.

The socket is opened before anything else, so that a taken port is told in one line; the line "server ready" is printed when the first
request would be answered. WebSocket limits are the engine's own: a frame larger than any honest one ends the connection before it is
read, pings belong to the session, compression is left out (a small frame may inflate a thousandfold); what else a socket may do stands in
server/socket_protocol.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

from server.app import ServerSettings, create_app
from server.installation import DATABASE, KEY
from server.socket_protocol import PROTOCOLS
from server.store import disk_told_plainly
from sync_core import limits
from sync_core.errors import AlreadyOpenError, RefusedError

LOCK: Final = "server.lock"
STOP_SECONDS: Final = 5
KEEP_ALIVE_SECONDS: Final = 20
BACKLOG: Final = 512
SWITCH_SECONDS: Final = 0.0005
"""How long a busy thread keeps another waiting. Python's own 5 ms would be paid again for every row read and every frame sent while the
authority decides."""


def serve_folder(data: Path, *, host: str, port: int, database: str | None, embedders: tuple[str, ...] = ()) -> None:
    """Serve `data` until SIGTERM or SIGINT.

    Raises:
        RefusedError: `nahuo init` did not make the folder, or the port is taken.
        AlreadyOpenError: another process serves the folder.
        NahuoError: the data cannot be opened.
    """
    if not (data / KEY).is_file() and not (data / DATABASE).is_file():
        raise RefusedError(
            "server.no_folder", f"{data} is no server's folder yet: nahuo init --data {data} --admin NAME"
        )
    app = create_app(ServerSettings(data=data, database=database, embedders=embedders))
    sys.setswitchinterval(SWITCH_SECONDS)
    with _listen(host, port) as listener, _alone(data), disk_told_plainly():
        asyncio.run(_serve(app, listener))


async def _serve(app: FastAPI, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        **PROTOCOLS,
        ws_max_size=limits.FRAME_BYTES_MAX,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    # Our own lifespan, so that what goes wrong at the start comes out as itself and not as a log entry.
    async with app.router.lifespan_context(app):
        # Modules and routes live as long as the process: left out of every collection of garbage, of which each full one cost 80 ms.
        gc.freeze()
        host, port = listener.getsockname()[:2]
        # The socket listens already: a request that comes before uvicorn has started waits in its backlog.
        print(f"server ready http://{host}:{port}", flush=True)
        await server._serve([listener])


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the folder: a second server on it would be a second writer and sign under the same number. The lock ends with the process."""
    with open(data / LOCK, "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyOpenError(f"{data} is served by another process: stop that one first") from error
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # Named as TCP, accepted sockets send at once (asyncio sets TCP_NODELAY); else each answer waits 40 ms for an acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise RefusedError("server.host", f"there is no address {host} on this machine") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise RefusedError(
            "server.port", f"{host}:{port} cannot be used ({error.strerror}): choose another with --port"
        ) from error
    listener.listen(BACKLOG)
    return listener
