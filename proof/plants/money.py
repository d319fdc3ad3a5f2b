"""Planted bugs of the ledger."""

from __future__ import annotations

from typing import Any

from proof.plants.patching import Layer, Patch
from server import ledger, rows
from server import schema as s
from server.authority import corrections
from trade import pricing

LEDGER = Layer("ledger")


@LEDGER.plant
def lost_remainder_of_a_hold(patch: Patch) -> None:
    """A piece bought below its cap: the difference is never given back."""
    patch.leave_out(ledger.Ledger, "release", when=_keyed("difference:"), answer=_nothing_fen)


@LEDGER.plant
def fees_of_a_closed_order_stay(patch: Patch) -> None:
    """Closing an order gives the goods' money back and forgets courier and packing."""
    patch.leave_out(ledger.Ledger, "release", when=_keyed("close:", ":fees"), answer=_nothing_fen)


@LEDGER.plant
def an_undone_purchase_stays_charged(patch: Patch) -> None:
    """Undoing a purchase keeps the merchant's money where it was."""
    patch.leave_out(ledger.Ledger, "unpost", when=_keyed("undo:"), answer=_nothing_fen)


def _keyed(first: str, last: str = "") -> Any:
    def when(*_: Any, key: str, **__: Any) -> bool:
        return key.startswith(first) and key.endswith(last)

    return when


def _nothing_fen(*_: Any, **__: Any) -> int:
    return 0


@LEDGER.plant
def a_hold_is_released_twice(patch: Patch) -> None:
    """What is released is credited twice over: the account of holds pays it."""
    real = ledger.Ledger.release

    def release(self: Any, subject: str, *, key: str, about: Any, zh: str, en: str, parts: Any = None) -> int:
        total_fen = real(self, subject, key=key, about=about, zh=zh, en=en, parts=parts)
        if total_fen and self.balance_fen(ledger.held_of(about.merchant)) >= total_fen:
            patch.reached()
            lines = {ledger.held_of(about.merchant): -total_fen, ledger.available_of(about.merchant): total_fen}
            self.enter(f"{key}:again", "release", lines, about, zh=zh, en=en)
        return int(total_fen)

    patch.set(ledger.Ledger, "release", release)


@LEDGER.plant
def money_is_not_checked_before_it_is_held(patch: Patch) -> None:
    """A hold is made though the wallet is short, and the guard on the account is gone as well."""

    def available(self: Any, merchant: str) -> int:
        patch.reached()
        return 10**12

    def move(self: Any, name: str, amount_fen: int) -> None:
        balance_fen = self.balance_fen(name) + amount_fen
        rows.upsert(self._conn, s.account, ("name",), {"name": name, "balance_fen": balance_fen, "guarded": 0})
        self._balances[name] = balance_fen

    patch.set(ledger.Ledger, "available_fen", available)
    patch.set(ledger.Ledger, "_move", move)


@LEDGER.plant
def a_fen_is_lost_in_rounding(patch: Patch) -> None:
    """A posting's second line is a fen short, and the check of the sum is gone."""
    real = ledger.Ledger._move

    def move(self: Any, name: str, amount_fen: int) -> None:
        if name == ledger.GOODS and amount_fen > 0:
            patch.reached()
            amount_fen -= 1
        real(self, name, amount_fen)

    patch.set(ledger.Ledger, "_move", move)


@LEDGER.plant
def a_balance_outlives_a_rollback(patch: Patch) -> None:
    """Balances are kept in memory across transactions: what was undone still counts."""
    kept: dict[str, dict[str, int]] = {}
    real = ledger.Ledger.balance_fen

    def balance(self: Any, account: str) -> int:
        memory = kept.setdefault(str(self._conn.engine.url), {})
        if account in self._balances:
            memory[account] = self._balances[account]
        elif account in memory:
            if memory[account] != real(self, account):
                patch.reached()
            self._balances[account] = memory[account]
        return memory.setdefault(account, real(self, account))

    patch.set(ledger.Ledger, "balance_fen", balance)


@LEDGER.plant
def the_price_paid_is_the_quote(patch: Patch) -> None:
    """The picker's float is lowered by the cap, not by what he paid."""
    real = ledger.Ledger.pay_stall

    def pay(self: Any, amount_fen: int, **more: Any) -> bool:
        if amount_fen > 0 and str(more.get("key", "")).startswith("paid:"):
            patch.reached()
            amount_fen += 100
        return real(self, amount_fen, **more)

    patch.set(ledger.Ledger, "pay_stall", pay)


@LEDGER.plant
def the_price_cap_is_forgotten(patch: Patch) -> None:
    """A price corrected upwards is the merchant's as a whole, also above what is frozen for it: the platform bears nothing."""

    def judged(decision: Any, **_: Any) -> Any:
        raised = decision.platform_fen > 0
        return pricing.Correction(merchant_fen=decision.merchant_fen, platform_fen=0) if raised else None

    patch.alter(corrections, "judge_correction", judged)


@LEDGER.plant
def a_lower_price_is_kept_by_the_platform(patch: Patch) -> None:
    """A price corrected downwards gives the merchant nothing back."""

    def judged(decision: Any, **_: Any) -> Any:
        lowered = decision.merchant_fen < 0
        return pricing.Correction(merchant_fen=0, platform_fen=decision.platform_fen) if lowered else None

    patch.alter(corrections, "judge_correction", judged)


@LEDGER.plant
def a_top_up_counts_each_time_it_is_told(patch: Patch) -> None:
    """The bank tells of one payment twice and it is booked twice."""
    real = ledger.Ledger.top_up

    def top_up(self: Any, amount_fen: int, *, key: str, about: Any, note: str = "") -> bool:
        if self.has(f"topup:{key}"):
            patch.reached()
            key = f"{key}-{self._last_id}"
        return real(self, amount_fen, key=key, about=about, note=note)

    patch.set(ledger.Ledger, "top_up", top_up)


@LEDGER.plant
def the_commission_is_taken_twice(patch: Patch) -> None:
    """When a parcel ships, the fees are captured again for every piece of it."""
    real = ledger.Ledger.capture_fees

    def capture(self: Any, subject: str, *, key: str, about: Any, zh: str, en: str) -> int:
        total_fen = int(real(self, subject, key=key, about=about, zh=zh, en=en))
        if total_fen and self.available_fen(about.merchant) >= total_fen:
            patch.reached()
            lines = {ledger.available_of(about.merchant): -total_fen, "platform:commission": total_fen}
            self.enter(f"{key}:more", "fees", lines, about, zh=zh, en=en)
        return total_fen

    patch.set(ledger.Ledger, "capture_fees", capture)


@LEDGER.plant
def the_chain_of_entries_is_broken(patch: Patch) -> None:
    """An entry is chained to nothing instead of to the one before it."""
    real = ledger.entry_digest

    def digest(prev: bytes, row: Any, lines: Any) -> bytes:
        patch.reached()
        return real(b"", row, lines)

    patch.set(ledger, "entry_digest", digest)
