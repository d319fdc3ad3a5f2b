"""Planted bugs of the server: authority, ledger, carry, and what happens after a restore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from proof.plants.patching import Layer, Patch, Reached
from server import installation, ledger, rows
from server import schema as s
from server import schema_trade as st
from server.authority import authority, batch, closing, commands, corrections, dispatch, intake, log_reading, purchases
from sync_core import facts
from trade import conflicts, kinds, pricing

AUTHORITY = Layer("authority")
LEDGER = Layer("ledger")
CARRY = Layer("carry")
RESTORE = Layer("restore")


# --- authority --------------------------------------------------------------------------------------------------------------


@AUTHORITY.plant(8)
def principal_back_before_the_phone_answered(patch: Patch, reached: Reached) -> None:
    """A closed order's money goes back at once, though a phone may still spend it."""

    def is_out(b: Any, wanted: str) -> bool:
        reached()
        return False

    patch.set(closing, "_is_out", is_out)


@AUTHORITY.plant(2)
def a_verdict_is_not_said(patch: Patch, reached: Reached) -> None:
    """The server's rows follow what it decided about a purchase, but no signed fact says so: replicas and rows part."""
    real = batch.Batch.say_to

    def say_to(self: Any, documents: Iterable[str | None], fact: Any) -> None:
        if fact.kind == "verdict.purchase":
            reached()
            return
        real(self, documents, fact)

    patch.set(batch.Batch, "say_to", say_to)


@AUTHORITY.plant(1)
def the_position_runs_ahead(patch: Patch, reached: Reached) -> None:
    """The authority's reading position is committed before what it read: a crash skips envelopes."""
    real = authority.Authority.run_batch

    def run_batch(self: Any, now_ms: int, **more: Any) -> bool:
        with self._store.transaction() as conn:
            position = int(rows.get_meta(conn, authority.POSITION, 0))
            last = conn.exec_driver_sql("SELECT coalesce(max(n), 0) FROM envelope").scalar()
        if last > position:
            reached()
            with self._store.transaction() as conn:
                rows.set_meta(conn, authority.POSITION, last)
            with self._store.transaction() as conn:
                rows.set_meta(conn, authority.POSITION, position)
                return bool(real(self, now_ms, **more))
        return bool(real(self, now_ms, **more))

    patch.set(authority.Authority, "run_batch", run_batch)


@AUTHORITY.plant(1)
def the_position_stays_behind(patch: Patch, reached: Reached) -> None:
    """The reading position is kept in memory: after a restart facts are read, recorded and decided again."""
    real = rows.set_meta

    def set_meta(conn: Any, name: str, value: Any) -> None:
        if name == authority.POSITION and value % 3:
            reached()
            return
        real(conn, name, value)

    patch.set(authority, "set_meta", set_meta)


@AUTHORITY.plant(1)
def a_rule_decides_again(patch: Patch, reached: Reached) -> None:
    """That a rule decided about a fact is not remembered."""
    real = batch.Batch.once

    def once(self: Any, document: str, fact: str, rule: str, outcome: Mapping[str, Any] | None = None) -> bool:
        if rule == kinds.PurchaseVerdict.KIND:
            reached()
            real(self, document, f"{fact}-{self.now_ms}", rule, outcome)
            return True
        return real(self, document, fact, rule, outcome)

    patch.set(batch.Batch, "once", once)


@AUTHORITY.plant(1)
def a_command_is_done_twice(patch: Patch, reached: Reached) -> None:
    """A page's command is carried out again when its answer was slow."""
    real = commands.carry_out

    def carry_out(b: Any, command: Any, by: str) -> Any:
        outcome = real(b, command, by)
        if command.KIND == "task.reassign":
            reached()
            real(b, command, by)
        return outcome

    patch.set(authority, "carry_out", carry_out)


@AUTHORITY.plant(1)
def every_purchase_keeps_its_want(patch: Patch, reached: Reached) -> None:
    """The second piece bought for one want is charged like the first."""
    real = conflicts.judge_purchase

    def judge(want: Any, fact: str) -> Any:
        decision = real(want, fact)
        if type(decision).__name__ == "Second":
            reached()
            purchase = next(p for p in want.purchases if p.fact == fact)
            return conflicts.Keeps(
                piece=purchase.piece,
                owner=want.merchant,
                charged_fen=min(purchase.price_fen, want.cap_fen),
                release_fen=0,
            )
        return decision

    patch.set(purchases, "judge_purchase", judge)


@AUTHORITY.plant(1)
def the_other_attempts_stay_out(patch: Patch, reached: Reached) -> None:
    """A served want does not recall its other attempts."""

    def serve(b: Any, wanted: Any, code: str) -> None:
        reached()
        b.set(st.wanted, wanted.id, keeper=code, status="shipped" if wanted.status == "shipped" else "bought")

    patch.set(purchases, "serve_want", serve)


@AUTHORITY.plant(1)
def a_reassigned_task_is_not_recalled(patch: Patch, reached: Reached) -> None:
    """The old phone is not told that a colleague has the task now; its row stays out."""

    def recall(b: Any, task: Any, reason: str, note: str = "") -> None:
        reached()
        b.set(st.task, task.id, recalled=reason)

    patch.set(dispatch, "recall", recall)


@AUTHORITY.plant(1)
def an_undone_purchase_stays_charged(patch: Patch, reached: Reached) -> None:
    """Undoing a purchase keeps the merchant's money where it was."""
    real = ledger.Ledger.unpost

    def unpost(self: Any, wanted: str, amount_fen: int, *, key: str, **more: Any) -> bool:
        if key.startswith("undo:"):
            reached()
            return False
        return real(self, wanted, amount_fen, key=key, **more)

    patch.set(ledger.Ledger, "unpost", unpost)


@AUTHORITY.plant(1)
def a_file_is_imported_twice(patch: Patch, reached: Reached) -> None:
    """An order whose file comes a second time is taken again."""
    real = intake._store_order

    def store(b: Any, shop: Any, order: Any, digest: str) -> str:
        first = real(b, shop, order, digest)
        reached()
        intake.screen_order(b, real(b, shop, replace(order, order_no=f"{order.order_no} "), digest))
        return str(first)

    patch.set(intake, "_store_order", store)


# --- ledger -----------------------------------------------------------------------------------------------------------------


@LEDGER.plant(1)
def lost_remainder_of_a_hold(patch: Patch, reached: Reached) -> None:
    """A piece bought below its cap: the difference is never given back."""
    real = ledger.Ledger.release

    def release(self: Any, subject: str, *, key: str, **more: Any) -> int:
        if key.startswith("difference:"):
            reached()
            return 0
        return real(self, subject, key=key, **more)

    patch.set(ledger.Ledger, "release", release)


@LEDGER.plant(1)
def fees_of_a_closed_order_stay(patch: Patch, reached: Reached) -> None:
    """Closing an order gives the goods' money back and forgets courier and packing."""
    real = ledger.Ledger.release

    def release(self: Any, subject: str, *, key: str, **more: Any) -> int:
        if key.startswith("close:") and key.endswith(":fees"):
            reached()
            return 0
        return real(self, subject, key=key, **more)

    patch.set(ledger.Ledger, "release", release)


@LEDGER.plant(1)
def a_hold_is_released_twice(patch: Patch, reached: Reached) -> None:
    """What is released is credited twice over: the account of holds pays it."""
    real = ledger.Ledger.release

    def release(self: Any, subject: str, *, key: str, about: Any, zh: str, en: str, parts: Any = None) -> int:
        total_fen = real(self, subject, key=key, about=about, zh=zh, en=en, parts=parts)
        if total_fen and self.balance_fen(ledger.held_of(about.merchant)) >= total_fen:
            reached()
            lines = {ledger.held_of(about.merchant): -total_fen, ledger.available_of(about.merchant): total_fen}
            self.enter(f"{key}:again", "release", lines, about, zh=zh, en=en)
        return int(total_fen)

    patch.set(ledger.Ledger, "release", release)


@LEDGER.plant(1)
def money_is_not_checked_before_it_is_held(patch: Patch, reached: Reached) -> None:
    """A hold is made though the wallet is short, and the guard on the account is gone as well."""

    def available(self: Any, merchant: str) -> int:
        reached()
        return 10**12

    def move(self: Any, name: str, amount_fen: int) -> None:
        balance_fen = self.balance_fen(name) + amount_fen
        rows.upsert(self._conn, s.account, ("name",), {"name": name, "balance_fen": balance_fen, "guarded": 0})
        self._balances[name] = balance_fen

    patch.set(ledger.Ledger, "available_fen", available)
    patch.set(ledger.Ledger, "_move", move)


@LEDGER.plant(1)
def a_fen_is_lost_in_rounding(patch: Patch, reached: Reached) -> None:
    """A posting's second line is a fen short, and the check of the sum is gone."""
    real = ledger.Ledger._move

    def move(self: Any, name: str, amount_fen: int) -> None:
        if name == ledger.GOODS and amount_fen > 0:
            reached()
            amount_fen -= 1
        real(self, name, amount_fen)

    patch.set(ledger.Ledger, "_move", move)


@LEDGER.plant(1)
def a_balance_outlives_a_rollback(patch: Patch, reached: Reached) -> None:
    """Balances are kept in memory across transactions: what was undone still counts."""
    kept: dict[str, dict[str, int]] = {}
    real = ledger.Ledger.balance_fen

    def balance(self: Any, account: str) -> int:
        memory = kept.setdefault(str(self._conn.engine.url), {})
        if account in self._balances:
            memory[account] = self._balances[account]
        elif account in memory:
            if memory[account] != real(self, account):
                reached()
            self._balances[account] = memory[account]
        return memory.setdefault(account, real(self, account))

    patch.set(ledger.Ledger, "balance_fen", balance)


@LEDGER.plant(1)
def the_price_paid_is_the_quote(patch: Patch, reached: Reached) -> None:
    """The picker's float is lowered by the cap, not by what he paid."""
    real = ledger.Ledger.pay_stall

    def pay(self: Any, amount_fen: int, **more: Any) -> bool:
        if amount_fen > 0 and str(more.get("key", "")).startswith("paid:"):
            reached()
            amount_fen += 100
        return real(self, amount_fen, **more)

    patch.set(ledger.Ledger, "pay_stall", pay)


@LEDGER.plant(1)
def the_price_cap_is_forgotten(patch: Patch, reached: Reached) -> None:
    """A price corrected upwards is the merchant's as a whole, also above what is frozen for it: the platform bears nothing."""
    real = pricing.judge_correction

    def judged(**more: Any) -> Any:
        decision = real(**more)
        if decision.platform_fen > 0:
            reached()
            return type(decision)(merchant_fen=decision.merchant_fen, platform_fen=0)
        return decision

    patch.set(corrections, "judge_correction", judged)


@LEDGER.plant(1)
def a_top_up_counts_each_time_it_is_told(patch: Patch, reached: Reached) -> None:
    """The bank tells of one payment twice and it is booked twice."""
    real = ledger.Ledger.top_up

    def top_up(self: Any, amount_fen: int, *, key: str, about: Any, note: str = "") -> bool:
        if self.has(f"topup:{key}"):
            reached()
            key = f"{key}-{self._last_id}"
        return real(self, amount_fen, key=key, about=about, note=note)

    patch.set(ledger.Ledger, "top_up", top_up)


@LEDGER.plant(1)
def the_commission_is_taken_twice(patch: Patch, reached: Reached) -> None:
    """When a parcel ships, the fees are captured again for every piece of it."""
    real = ledger.Ledger.capture_fees

    def capture(self: Any, subject: str, *, key: str, about: Any, zh: str, en: str) -> int:
        total_fen = int(real(self, subject, key=key, about=about, zh=zh, en=en))
        if total_fen and self.available_fen(about.merchant) >= total_fen:
            reached()
            lines = {ledger.available_of(about.merchant): -total_fen, "platform:commission": total_fen}
            self.enter(f"{key}:more", "fees", lines, about, zh=zh, en=en)
        return total_fen

    patch.set(ledger.Ledger, "capture_fees", capture)


@LEDGER.plant(1)
def the_chain_of_entries_is_broken(patch: Patch, reached: Reached) -> None:
    """An entry is chained to nothing instead of to the one before it."""
    real = ledger.entry_digest

    def digest(prev: bytes, row: Any, lines: Any) -> bytes:
        reached()
        return real(b"", row, lines)

    patch.set(ledger, "entry_digest", digest)


@LEDGER.plant(1)
def a_lower_price_is_kept_by_the_platform(patch: Patch, reached: Reached) -> None:
    """A price corrected downwards gives the merchant nothing back."""
    real = pricing.judge_correction

    def judged(**more: Any) -> Any:
        decision = real(**more)
        if decision.merchant_fen < 0:
            reached()
            return type(decision)(merchant_fen=0, platform_fen=decision.platform_fen)
        return decision

    patch.set(corrections, "judge_correction", judged)


# --- carry ------------------------------------------------------------------------------------------------------------------


@CARRY.plant(1)
def purchases_are_not_carried(patch: Patch, reached: Reached) -> None:
    """What a picker bought stays in his route: the warehouse never hears of it."""
    real = batch.Batch.carry_on

    def carry_on(self: Any, document: str, fact: Any) -> None:
        if fact.kind == "piece.bought":
            reached()
            return
        real(self, document, fact)

    patch.set(batch.Batch, "carry_on", carry_on)


@CARRY.plant(1)
def a_carried_fact_gets_a_new_name(patch: Patch, reached: Reached) -> None:
    """Carried facts get another id, so that a copy counts as another fact."""
    real = facts.carry

    def renamed(fact: Any) -> Any:
        reached()
        device, seq, index = fact.id.split(".")
        return real(replace(fact, id=f"{device}.{int(seq) + 500_000}.{index}"))

    patch.set(batch, "carry", renamed)


@CARRY.plant(1)
def carried_facts_are_decided_again(patch: Patch, reached: Reached) -> None:
    """The copy of a fact that the server wrote into another document counts as another purchase."""
    real = log_reading.Memory._insert

    def insert(self: Any, document: str, fact: Any, n: int, void: Any, *, carried: bool) -> None:
        if carried:
            reached()
        real(self, document, fact, n, void, carried=False)

    patch.set(log_reading.Memory, "_insert", insert)


# --- restore ----------------------------------------------------------------------------------------------------------------


@RESTORE.plant(1)
def a_restored_server_keeps_its_number(patch: Patch, reached: Reached) -> None:
    """A server on a restored copy goes on under its old number, over envelopes it has forgotten."""

    def same(one: str, other: str) -> bool:
        if one != other:
            reached()
        return True

    class Digests:
        compare_digest = staticmethod(same)

    patch.set(installation, "hmac", Digests)


@RESTORE.plant(1)
def a_restored_server_gives_waybills_again(patch: Patch, reached: Reached) -> None:
    """Waybill numbers handed out after the backup are handed out once more."""

    def skip(conn: Any) -> None:
        reached()

    patch.set(installation, "_skip_numbers", skip)


@RESTORE.plant(1)
def a_restored_server_takes_nothing_back(patch: Patch, reached: Reached) -> None:
    """What the lost server had decided is decided anew."""

    def take_back(b: Any, document: str, fact: Any) -> None:
        reached()

    patch.set(authority, "take_back", take_back)
