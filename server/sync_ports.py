"""What the sync endpoint asks of this server: who a token is, what he may open, and where his report goes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import select

from server import schema as s
from server.installation import Server
from server.sync_endpoint import Peer, SyncPorts
from server.tokens import read_token
from server.writer import Writer
from sync_core.hub import Hub
from sync_core.lines import line_of
from sync_core.session import READ_ONLY, READ_WRITE
from trade.kinds import SCHEMA, SCHEMA_MIN

SEEN_MS_APART = 10_000
REPORTED_MAX = 2**43
"""No count and no instant of a device is larger: the year 2248."""


class SyncDesk:
    """The sync endpoint's questions, answered from the store. Reads run off the event loop."""

    def __init__(self, server: Server, *, now_ms: Callable[[], int]) -> None:
        self._server = server
        self._store = server.store
        self._now_ms = now_ms
        self.reports: dict[int, dict[str, Any]] = {}
        """{device: its last report, with `received_ms`}: what waits on it, and how its clock goes. Memory only: a device says it again."""
        self._seen_ms: dict[int, int] = {}
        self._seen: Callable[[Iterable[int]], None] = lambda _: None

    def ports(self, hub: Hub, writer: Writer) -> SyncPorts:
        """Return the ports of `serve_sync`."""
        self._seen = writer.seen
        return SyncPorts(
            hub=hub,
            log=self._store,
            writer=writer,
            peer_of_token=self._peer_of_token,
            scope_of=self._scope_of,
            is_revoked=self._is_revoked,
            reported=self._reported,
            ended=lambda device: device in self._store.ended,
            asks_new_key=lambda device: device in self._store.new_keys,
            hello=lambda: {"server": self._server.number, "schema": SCHEMA, "schema_min": SCHEMA_MIN},
            refuse=writer.refuse,
            now_ms=self._now_ms,
        )

    async def _peer_of_token(self, token: str) -> Peer | None:
        bearer = read_token(self._server.secret, token, now_ms=self._now_ms())
        if bearer is None:
            return None
        if bearer.documents is not None:
            return Peer(
                device=-1,
                readonly=bearer.documents,
                key=hashlib.sha256(token.encode()).hexdigest(),
                until_ms=bearer.until_ms,
            )
        known = await asyncio.to_thread(self._store.key_of, bearer.device)
        if known is None:
            return None
        self._note_seen(bearer.device)
        return Peer(device=bearer.device, key=str(bearer.device))

    def _note_seen(self, device: int) -> None:
        """Note that a device connected; one that does so again and again costs nothing more."""
        now_ms = self._now_ms()
        if now_ms - self._seen_ms.get(device, 0) >= SEEN_MS_APART:
            self._seen_ms[device] = now_ms
            self._seen([device])

    async def _scope_of(self, peer: Peer, document: str) -> str | None:
        if peer.device < 0:
            return READ_ONLY if document in peer.readonly else None
        return await asyncio.to_thread(self._read_scope, peer.device, document)

    def _read_scope(self, device: int, document: str) -> str | None:
        known = self._store.key_of(device)
        if known is None:
            return None
        own, _, rest = document.rpartition("/")
        if document in known.documents or (own == f"device/{device}" and rest.isascii() and rest.isdigit()):
            return READ_WRITE
        # Another document of a line it has: it may have learned of the successor before a server that was restored since.
        line = line_of(document)
        if line is not None and any(line_of(name) == line for name in known.documents):
            return READ_WRITE
        # A document that ended, or was taken from the device: it may still deliver what it wrote there.
        with self._store.reading() as conn:
            row = conn.execute(
                select(s.writer.c.device).where((s.writer.c.document == document) & (s.writer.c.device == device))
            ).first()
        return READ_WRITE if row is not None else None

    async def _is_revoked(self, device: int) -> bool:
        if device < 0:
            return False
        known = await asyncio.to_thread(self._store.key_of, device)
        return known is None or known.revoked

    async def _reported(self, device: int, report: dict[str, Any]) -> None:
        kept = {
            name: value
            for name, value in report.items()
            if name in ("waiting", "since_ms", "clock_ms", "schema", "free_mib")
            and type(value) is int
            and 0 <= value < REPORTED_MAX
        }
        self.reports[device] = {**kept, "received_ms": self._now_ms()}
