"""Put the server's parts together for one run: installation, hub, authority, writer thread, pages' serving, sync ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from starlette.websockets import WebSocket

from server.authority import Authority
from server.installation import Server, open_server
from server.running import Running, wall_clock_ms
from server.sync_endpoint import SyncPorts, serve_sync
from server.sync_ports import SyncDesk
from server.writer import Writer
from sync_core.hub import Hub

SEEN_SECONDS = 20.0


@asynccontextmanager
async def open_running(app: FastAPI, *, data: Path, database: str | None, synchronous: str) -> AsyncIterator[Running]:
    """Open the installation, start the writer, and give `app` what its routes ask for; close all in the end."""
    server = await asyncio.to_thread(
        open_server, data, database=database, synchronous=synchronous, now_ms=wall_clock_ms()
    )
    await asyncio.to_thread(server.store.claim)
    hub = Hub(server.store)
    authority = Authority(server)
    writer = Writer(server.store, authority, now_ms=wall_clock_ms, on_commit=hub.committed, on_landed=hub.landed)
    server.store.wake = writer.nudge

    def connected() -> frozenset[int]:
        return frozenset(connection.device for connection in hub.connections() if connection.device >= 0)

    running = Running(server, trouble=lambda: writer.failure, connected=connected, returned=writer.returned)
    await asyncio.to_thread(running.accounts.create_tables)
    desk = SyncDesk(server, now_ms=wall_clock_ms)
    running.reports = desk.reports
    app.state.serving = running
    app.state.sync_ports = desk.ports(hub, writer)
    writer.start(asyncio.get_running_loop())
    noting = asyncio.create_task(_note_seen(running, writer))
    try:
        yield running
    finally:
        noting.cancel()
        await asyncio.to_thread(writer.stop)
        await _note_extent(server)
        server.store.close()


async def _note_seen(running: Running, writer: Writer) -> None:
    """Keep "last seen" true for links that stay up for hours: what a close must warn of (D9)."""
    while True:
        await asyncio.sleep(SEEN_SECONDS)
        numbers = running.connected()
        if numbers:
            writer.seen(numbers)
        await _note_extent(running.server)


async def _note_extent(server: Server) -> None:
    """Whoever puts an older database in place of this one is known by it; what cannot be noted now is noted the next time."""
    with suppress(OSError, DBAPIError):
        await asyncio.to_thread(server.note_extent)


async def sync(socket: WebSocket) -> None:
    """The route of the sync endpoint."""
    ports: SyncPorts = socket.app.state.sync_ports
    await serve_sync(socket, ports)
