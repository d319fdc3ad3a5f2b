"""Planted bugs of the authority: what it reads, decides and says, what it carries on, and what it does on a restored copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from proof.plants.patching import Layer, Patch
from server import installation, rows
from server import schema_trade as st
from server.authority import authority, batch, closing, dispatch, intake, log_reading, purchases, waybills
from server.authority.deciding import decide
from sync_core import facts
from sync_core.facts import is_server, place
from sync_core.fold import judge
from sync_core.gate import HEADER_BYTES
from sync_core.payload import decode_payload
from trade import conflicts, kinds

AUTHORITY = Layer("authority")
CARRY = Layer("carry")
RESTORE = Layer("restore")


# --- authority --------------------------------------------------------------------------------------------------------------


@AUTHORITY.plant
def principal_back_before_the_phone_answered(patch: Patch) -> None:
    """A closed order's money goes back at once, though a phone may still spend it."""
    patch.leave_out(closing, "_is_out", answer=_no)


@AUTHORITY.plant
def a_verdict_is_not_said(patch: Patch) -> None:
    """The server's rows follow what it decided about a purchase, but no signed fact says so: replicas and rows part."""
    patch.leave_out(batch.Batch, "say_to", when=_about_a(kinds.PurchaseVerdict.KIND))


@AUTHORITY.plant
def the_position_runs_ahead(patch: Patch) -> None:
    """The authority's reading position is committed before what it read: a crash skips envelopes."""
    real = authority.Authority.run_batch

    def run_batch(self: Any, now_ms: int, **more: Any) -> bool:
        with self._store.transaction() as conn:
            position = int(rows.get_meta(conn, authority.POSITION, 0))
            last = conn.exec_driver_sql("SELECT coalesce(max(n), 0) FROM envelope").scalar()
        if last > position:
            patch.reached()
            with self._store.transaction() as conn:
                rows.set_meta(conn, authority.POSITION, last)
            with self._store.transaction() as conn:
                rows.set_meta(conn, authority.POSITION, position)
                return bool(real(self, now_ms, **more))
        return bool(real(self, now_ms, **more))

    patch.set(authority.Authority, "run_batch", run_batch)


@AUTHORITY.no_plant(
    "What was read once is passed over by its writer and number, each rule decides a fact once, and each posting has its key: three guards"
    " behind the position, each enough (`a_rule_decides_again` is what happens without them)."
)
def the_position_stays_behind(patch: Patch) -> None:
    """The reading position is kept in memory: after a restart facts are read again."""
    _forget_position(patch, patch.reached)


@AUTHORITY.plant
def a_rule_decides_again(patch: Patch) -> None:
    """The log is read again, and nothing remembers what was decided about it."""
    _forget_position(patch, lambda: None)
    real_record = log_reading.Memory.record

    def record(self: Any, document: str, envelope: Any, n: int) -> Any:
        known = self._of(document).get(envelope.device)
        if known is None or envelope.seq > known.seq or is_server(envelope.device):
            return real_record(self, document, envelope, n)
        admission = self._admission(document, envelope.device)
        again = place(envelope, document=document, basis=known.basis, admission=admission)
        return [fact for fact in again if judge(self.trade, fact) is None], []

    def once(done: bool, *_: Any) -> Any:
        return None if done else True

    patch.set(log_reading.Memory, "record", record)
    patch.alter(batch.Batch, "once", once)


def _forget_position(patch: Patch, reached: Callable[[], None]) -> None:
    real = rows.set_meta
    forgotten = 0

    def set_meta(conn: Any, name: str, value: Any) -> None:
        nonlocal forgotten
        if name == authority.POSITION and value % 3 and value != forgotten:
            # Not twice running: the same whole batch would be read for ever.
            forgotten = value
            reached()
            return
        real(conn, name, value)

    patch.set(authority, "set_meta", set_meta)


@AUTHORITY.plant
def a_command_is_done_twice(patch: Patch) -> None:
    """That a page's command was done is noted in a transaction of its own: it is carried out again."""
    real = authority.Authority._command

    def command(self: Any, row: Any, now_ms: int) -> None:
        real(self, row, now_ms)
        patch.reached()
        real(self, row, now_ms)

    patch.set(authority.Authority, "_command", command)


@AUTHORITY.plant
def every_purchase_keeps_its_want(patch: Patch) -> None:
    """The second piece bought for one want is charged like the first."""
    real = conflicts.judge_purchase

    def judge(want: Any, fact: str) -> Any:
        decision = real(want, fact)
        if type(decision).__name__ == "Second":
            patch.reached()
            purchase = next(p for p in want.purchases if p.fact == fact)
            return conflicts.Keeps(
                piece=purchase.piece,
                owner=want.merchant,
                charged_fen=min(purchase.price_fen, want.cap_fen),
                release_fen=0,
            )
        return decision

    patch.set(purchases, "judge_purchase", judge)


@AUTHORITY.plant
def the_other_attempts_stay_out(patch: Patch) -> None:
    """A served want does not recall its other attempts."""
    patch.leave_out(purchases, "recall")


@AUTHORITY.plant
def a_reassigned_task_is_not_recalled(patch: Patch) -> None:
    """The old phone is not told that a colleague has the task now; its row stays out."""

    def note(b: Any, task: Any, reason: str, _note: str = "") -> None:
        b.set(st.task, task.id, recalled=reason)

    patch.leave_out(dispatch, "recall", answer=note)


@AUTHORITY.plant
def a_file_is_imported_twice(patch: Patch) -> None:
    """Orders are numbered by the file they came in: one whose file comes a second time is taken again."""
    seen: set[str] = set()

    def numbered(read: Any, *_: Any) -> Any:
        again = [order for order in read.orders if order.order_no in seen]
        seen.update(order.order_no for order in read.orders)
        return (
            replace(read, orders=tuple(replace(order, order_no=f"{order.order_no}-2") for order in again))
            if again
            else None
        )

    patch.alter(intake, "read_order_files", numbered)


# --- carry ------------------------------------------------------------------------------------------------------------------


@CARRY.plant
def purchases_are_not_carried(patch: Patch) -> None:
    """What a picker bought stays in his route: the warehouse never hears of it."""
    patch.leave_out(batch.Batch, "carry_on", when=_about_a(kinds.PieceBought.KIND))


@CARRY.plant
def a_carried_fact_gets_a_new_name(patch: Patch) -> None:
    """Carried facts get another id, so that a copy counts as another fact."""
    real = facts.carry

    def renamed(fact: Any) -> Any:
        patch.reached()
        device, seq, index = fact.id.split(".")
        return real(replace(fact, id=f"{device}.{int(seq) + 500_000}.{index}"))

    patch.set(batch, "carry", renamed)


@CARRY.plant
def carried_facts_are_decided_again(patch: Patch) -> None:
    """The copy of a fact that the server wrote into another document counts as another fact, and is decided as well."""
    real = authority.Authority._take

    def take(self: Any, b: Any, row: Any) -> None:
        real(self, b, row)
        envelope = decode_payload(bytes(row.stored)[HEADER_BYTES:])
        admission = b.memory._admission(row.document, envelope.device)
        for fact in place(envelope, document=row.document, basis={}, admission=admission):
            if is_server(envelope.device) and not is_server(fact.device) and judge(b.trade, fact) is None:
                patch.reached()
                decide(b, row.document, fact, received_ms=row.received_ms)

    patch.set(authority.Authority, "_take", take)


# --- restore ----------------------------------------------------------------------------------------------------------------


@RESTORE.plant
def a_restored_server_keeps_its_number(patch: Patch) -> None:
    """A server on a restored copy goes on under its old number, over envelopes it has forgotten."""

    def same(one: str, other: str) -> bool:
        if one != other:
            patch.reached()
        return True

    class Digests:
        compare_digest = staticmethod(same)

    patch.set(installation, "hmac", Digests)


@RESTORE.plant
def a_restored_server_gives_waybills_again(patch: Patch) -> None:
    """Waybill numbers handed out after the backup are handed out once more, and who had them first keeps none."""
    patch.leave_out(installation, "_skip_numbers")
    patch.leave_out(waybills, "give_back")


@RESTORE.plant
def a_restored_server_takes_nothing_back(patch: Patch) -> None:
    """What the lost server had decided is decided anew."""

    def said_by_the_lost(b: Any, _document: str, fact: Any) -> bool:
        return bool(fact.writer != b.server.number and fact.device == fact.writer)

    patch.leave_out(authority, "take_back", when=said_by_the_lost)


def _no(*_: Any, **__: Any) -> bool:
    return False


def _about_a(kind: str) -> Any:
    """True for the calls whose last argument is a fact of this kind."""

    def when(*args: Any) -> bool:
        return bool(args[-1].kind == kind)

    return when
