"""The running server as pages and API see it: its store, its accounts, commands given and answered, the menu.

Pages never write the trade: they leave a command and wait a while for the authority's outcome (design section 6).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from server import commands, contact
from server import schema as s
from server.auth import PLATFORM, Account, Accounts, WebRole
from server.installation import Server
from server.pages import reads_orders
from server.pages.asking import OUTCOME_WAIT_MS, Shown
from server.pages.frame import Entry
from server.pages.outcomes import show_outcome
from server.schema_trade import decision, discrepancy, piece
from server.store import Store
from sync_core.errors import RefusedError

POLL_MS_FIRST, POLL_MS_MAX = 4, 64


def wall_clock_ms() -> int:
    """The instant by this machine's wall clock."""
    return time.time_ns() // 1_000_000


class Running:
    """What `server.pages.asking.Serving` asks for, over an opened installation."""

    def __init__(
        self,
        server: Server,
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
        trouble: Callable[[], str] = str,
        connected: Callable[[], frozenset[int]] = frozenset,
        returned: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self.server = server
        self.store: Store = server.store
        self.accounts = Accounts(server.store.engine)
        self._clock_ms = clock_ms
        self._trouble = trouble
        self._connected = connected
        self._returned = returned
        self.reports: Mapping[int, Mapping[str, Any]] = {}
        """{device: what it last reported of itself}: `waiting`, `since_ms`, `clock_ms`, `received_ms`."""

    def clock_ms(self) -> int:
        """The instant."""
        return self._clock_ms()

    @property
    def zone_name(self) -> str:
        """The platform's time zone."""
        return self.server.zone

    async def heard(self, device: int) -> dict[str, Any]:
        """A device asks for its token: note a return from an absence before anything it brings, and return its new certificate.

        Raises:
            OSError: the server cannot write now.
        """
        now_ms = self.clock_ms()
        away, told = await run_in_threadpool(self._certificate, device, now_ms)
        if away and self._returned is not None:
            await self._returned(device)
        return told

    def _certificate(self, device: int, now_ms: int) -> tuple[bool, dict[str, Any]]:
        with self.store.reading() as conn:
            told = contact.certificate(conn, self.server.signer, device, now_ms=now_ms)
            return contact.was_away(conn, device, now_ms=now_ms), told

    def connected(self) -> frozenset[int]:
        """The devices whose link is up now; on the event loop only."""
        return self._connected()

    def trouble(self) -> str:
        """Why the server could not write last time; empty while all is well."""
        return self._trouble()

    async def carry_out(self, command: commands.Command, *, by: str) -> Shown:
        """Leave a command for the authority and wait a while for its outcome.

        Raises:
            RefusedError: `command.role`: only the platform's people may give it.
        """
        if command.PLATFORM_ONLY and by.startswith("merchant:"):
            raise RefusedError("command.role", "这只有平台能做 / only the platform may do this")
        number = await run_in_threadpool(commands.submit, self.store, command, by=by, now_ms=self.clock_ms())
        waited_ms, step_ms = 0, POLL_MS_FIRST
        while waited_ms < OUTCOME_WAIT_MS:
            shown = await run_in_threadpool(self.outcome, number, by=by)
            if shown is not None and shown.state != "waiting":
                return shown
            await asyncio.sleep(step_ms / 1000)
            waited_ms += step_ms
            step_ms = min(POLL_MS_MAX, step_ms * 2)
        return Shown(command=number, state="waiting")

    def outcome(self, command: int, *, by: str) -> Shown | None:
        """What became of a command of that person; nobody else's."""
        c = s.command.c
        with self.store.reading() as conn:
            row = conn.execute(select(c.kind, c.outcome).where(c.id == command, c.by == by)).first()
        if row is None:
            return None
        return (
            Shown(command=command, state="waiting")
            if row.outcome is None
            else show_outcome(command, row.kind, json.loads(row.outcome))
        )

    def navigation(self, account: Account) -> list[Entry]:
        """The main menu of an account, with what waits for him."""
        with self.store.reading() as conn:
            if not account.of_platform:
                mine = (decision.c.merchant == account.organisation, decision.c.resolved_ms.is_(None))
                return _merchant_menu(reads_orders.count(conn, decision, *mine))
            contradictions = reads_orders.count(conn, discrepancy, discrepancy.c.resolved_ms.is_(None))
            refused = reads_orders.count(conn, s.quarantine, s.quarantine.c.resolved_ms.is_(None))
            orphans = reads_orders.count(conn, piece, piece.c.outcome == "unexplained", piece.c.scanned_ms.is_not(None))
        return _platform_menu(account, contradictions, orphans, refused)

    def organisation_name(self, account: Account) -> str:
        """What stands beside the mark on the top of his pages."""
        if account.organisation == PLATFORM:
            return "平台"
        with self.store.reading() as conn:
            return reads_orders.merchant_name(conn, account.organisation)


def _merchant_menu(waiting: int) -> list[Entry]:
    return [
        Entry(path="/merchant", zh="概况", en="Overview"),
        Entry(path="/merchant/orders", zh="订单", en="Orders"),
        Entry(path="/merchant/decisions", zh="待决定", en="Decisions", count=waiting),
        Entry(path="/merchant/import", zh="导入", en="Import"),
        Entry(path="/merchant/wallet", zh="钱包", en="Wallet"),
        Entry(path="/merchant/returns", zh="退件", en="Returns"),
        Entry(path="/merchant/notices", zh="通知", en="Notices"),
        Entry(path="/merchant/settings", zh="设置", en="Settings"),
    ]


def _platform_menu(account: Account, contradictions: int, orphans: int, refused: int) -> list[Entry]:
    menu = [
        Entry(path="/platform", zh="概况", en="Overview"),
        Entry(path="/platform/orders", zh="订单", en="Orders"),
        Entry(path="/platform/routes", zh="派单", en="Routes"),
        Entry(path="/platform/trips", zh="退货", en="Returns"),
        Entry(path="/platform/devices", zh="设备", en="Devices"),
        Entry(path="/platform/discrepancies", zh="矛盾", en="Discrepancies", count=contradictions),
        Entry(path="/platform/orphans", zh="无主标签", en="Unexplained", count=orphans),
        Entry(path="/platform/quarantine", zh="隔离", en="Quarantine", count=refused),
        Entry(path="/platform/ledger", zh="账本", en="Ledger"),
        Entry(path="/platform/merchants", zh="商家", en="Merchants"),
        Entry(path="/platform/stalls", zh="档口", en="Stalls"),
        Entry(path="/platform/couriers", zh="快递与费用", en="Couriers and fees"),
        Entry(path="/platform/people", zh="人员", en="People"),
        Entry(path="/platform/notices", zh="通知", en="Notices"),
    ]
    if account.role is WebRole.ADMIN:
        menu.append(Entry(path="/platform/users", zh="账号", en="Accounts"))
    return menu
