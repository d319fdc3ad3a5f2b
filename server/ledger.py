"""The wallet: a double-entry journal of whole fen that can only grow.

Every entry's lines sum to zero; triggers forbid update and delete; entries are chained by hash; each names the facts or commands
that caused it. An entry has a unique key made of what it resolves (`post:<piece>`, `release:<wanted>:…`), so a resolution happens
once, whatever restarts. Sign: an amount is money flowing into the account; `available` and `held` of a merchant are guarded, never
below zero at any prefix (I5). Frozen money is kept per subject and part in `hold`, whose rows say how much of it is still open.

Accounts: `merchant:<id>:available`, `merchant:<id>:held`, `platform:goods` (principals in, credits out), `platform:commission`,
`platform:courier`, `platform:packing`, `platform:check`, `float:<person>` (a picker's cash), `company`, `stall:<market>/<floor>/<stall>`
(tabs, below zero: owed), `outside` (bank, and stalls that were paid). Rules R20, R65, R79-R84, D8, D9, D12, D19; REL-R8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from server import schema as s
from server.rows import add, add_all, change, read, to_json, upsert
from sync_core.errors import InvariantError, RefusedError
from sync_core.payload import canonical_json

OUTSIDE: Final = "outside"
GOODS: Final = "platform:goods"
COMPANY: Final = "company"
PRINCIPAL: Final = "principal"
FEE_ACCOUNTS: Final = {
    "commission": "platform:commission",
    "check": "platform:check",
    "courier": "platform:courier",
    "packing": "platform:packing",
}
AMOUNT_FEN_MAX: Final = 100_000_000_00
"""A hundred million yuan: above it a keyed sum is a slip, and sums stay far below 2**53."""
EMPTY_DIGEST: Final = hashlib.sha256(b"nahuo ledger").digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an entry speaks of, and what caused it (`fact:<document>:<id>` or `command:<id>`)."""

    merchant: str = ""
    order: str = ""
    task: str = ""
    piece: str = ""
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPart:
    """One frozen sum: for a wanted piece (principal, commission, check) or for an order (courier, packing)."""

    subject: str
    part: str
    amount_fen: int


PART_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    PRINCIPAL: ("货款上限", "goods"),
    "commission": ("佣金", "commission"),
    "check": ("验货", "check"),
    "courier": ("快递", "courier"),
    "packing": ("打包", "packing"),
}


def tell_parts(parts: Iterable[HoldPart]) -> tuple[str, str]:
    """Return what a sum is made of, for the text of an entry: ("快递 3.00、打包 1.00", "courier 3.00, packing 1.00")."""
    sums: dict[str, int] = {}
    for part in parts:
        sums[part.part] = sums.get(part.part, 0) + part.amount_fen
    told = [(*PART_WORDS[part], f"{fen // 100}.{fen % 100:02d}") for part, fen in sums.items() if fen]
    return "、".join(f"{zh} {sum_}" for zh, _, sum_ in told), ", ".join(f"{en} {sum_}" for _, en, sum_ in told)


def available_of(merchant: str) -> str:
    """The account of a merchant's free money."""
    return f"merchant:{merchant}:available"


def held_of(merchant: str) -> str:
    """The account of a merchant's frozen money."""
    return f"merchant:{merchant}:held"


class Ledger:
    """The journal within one write transaction."""

    def __init__(self, conn: Connection, now_ms: int) -> None:
        self._conn = conn
        self._now_ms = now_ms
        self._balances: dict[str, int] = {}
        last = read(conn, _LAST_ENTRY).first()
        self._last_id: int = 0 if last is None else last.id
        self._last_digest: bytes = EMPTY_DIGEST if last is None else bytes(last.digest)

    # --- reading ----------------------------------------------------------------------------------------------------------

    def balance_fen(self, account: str) -> int:
        """Return an account's balance."""
        if account not in self._balances:
            self._balances[account] = read(self._conn, _BALANCE, name_=account).scalar() or 0
        return self._balances[account]

    def available_fen(self, merchant: str) -> int:
        """Return what a merchant may still spend."""
        return self.balance_fen(available_of(merchant))

    def open_fen(self, subject: str, part: str | None = None) -> int:
        """Return what is still frozen for a subject, of one part or of all."""
        return sum(row.amount_fen for row in self.open_parts(subject) if part is None or row.part == part)

    def open_parts(self, subject: str) -> list[HoldPart]:
        """Return the parts of a subject that are still frozen."""
        rows = read(self._conn, _OPEN_PARTS, subject_=subject)
        return [HoldPart(subject=subject, part=row.part, amount_fen=row.open_fen) for row in rows if row.open_fen > 0]

    def captured_fen(self, subject: str, part: str) -> int:
        """Return what was taken of one part that was frozen for a subject."""
        row = read(self._conn, _HOLD, subject_=subject, part_=part).first()
        return 0 if row is None else int(row.captured_fen)

    def about(self, key: str) -> About | None:
        """Return what the entry of this key speaks of; None when there is none."""
        row = read(self._conn, _ABOUT, key_=key).first()
        return None if row is None else About(merchant=row.merchant, order=row.order_id, task=row.task, piece=row.piece)

    def has(self, key: str) -> bool:
        """True when the entry of this key was made."""
        return read(self._conn, _ENTRY, key_=key).first() is not None

    # --- the operations ---------------------------------------------------------------------------------------------------

    def top_up(self, amount_fen: int, *, key: str, about: About, note: str = "") -> bool:
        """Money came in for a merchant (R20). A second call with the same key changes nothing.

        Raises:
            RefusedError: `wallet.amount`.
        """
        if not 0 < amount_fen <= AMOUNT_FEN_MAX:
            raise RefusedError("wallet.amount", "金额不对 / the amount must be above 0 and below 100 million yuan")
        lines = {OUTSIDE: -amount_fen, available_of(about.merchant): amount_fen}
        return self.enter(
            f"topup:{key}", "top_up", lines, about, zh=f"充值 {note}".strip(), en=f"Top-up {note}".strip()
        )

    def hold(self, parts: Sequence[HoldPart], *, key: str, about: About, zh: str, en: str) -> bool:
        """Freeze what an order or a new attempt needs, all of it or nothing (R65, R79).

        Raises:
            RefusedError: `wallet.short`; nothing was changed.
        """
        if self.has(key):
            return False
        total_fen = sum(part.amount_fen for part in parts)
        if total_fen > (free_fen := self.available_fen(about.merchant)):
            raise RefusedError(
                "wallet.short", f"余额不足，差 {total_fen - free_fen} 分 / short by {total_fen - free_fen} fen"
            )
        for part in parts:
            self._add_to_hold(part, about)
        lines = {available_of(about.merchant): -total_fen, held_of(about.merchant): total_fen}
        return self.enter(key, "hold", lines, about, zh=zh, en=en)

    def post(self, wanted: str, amount_fen: int, *, key: str, about: About, why: tuple[str, str] | None = None) -> bool:
        """Take a piece's principal out of what is frozen for it, at the pick price (R81); `why` when that is not plain.

        Raises:
            InvariantError: more than is frozen; the decision before it should have capped the amount.
        """
        if amount_fen == 0 or self.has(key):
            return False
        self._resolve(wanted, PRINCIPAL, captured_fen=amount_fen)
        lines = {held_of(about.merchant): -amount_fen, GOODS: amount_fen}
        zh, en = ("", "") if why is None else (f"：{why[0]}", f": {why[1]}")
        return self.enter(
            key, "post", lines, about, zh=f"拿货款 {about.piece}{zh}", en=f"Principal of piece {about.piece}{en}"
        )

    def unpost(self, wanted: str, amount_fen: int, *, key: str, about: About, zh: str, en: str) -> bool:
        """Reverse (part of) a posting: the money is frozen again for the same wanted piece."""
        if amount_fen == 0 or self.has(key):
            return False
        self._resolve(wanted, PRINCIPAL, captured_fen=-amount_fen)
        lines = {GOODS: -amount_fen, held_of(about.merchant): amount_fen}
        return self.enter(key, "reverse", lines, about, zh=zh, en=en)

    def release(
        self, subject: str, *, key: str, about: About, zh: str, en: str, parts: Iterable[str] | None = None
    ) -> int:
        """Give back what is still frozen for a subject (all parts, or those named); returns the amount, 0 if none (R82)."""
        chosen = [part for part in self.open_parts(subject) if parts is None or part.part in set(parts)]
        total_fen = sum(part.amount_fen for part in chosen)
        if total_fen == 0 or self.has(key):
            return 0
        for part in chosen:
            self._resolve(subject, part.part, released_fen=part.amount_fen)
        lines = {held_of(about.merchant): -total_fen, available_of(about.merchant): total_fen}
        self.enter(key, "release", lines, about, zh=zh, en=en)
        return total_fen

    def capture_fees(self, subject: str, *, key: str, about: About, zh: str, en: str) -> int:
        """Take the fees still frozen for a subject (never its principal); returns the amount (R72)."""
        chosen = [part for part in self.open_parts(subject) if part.part in FEE_ACCOUNTS]
        total_fen = sum(part.amount_fen for part in chosen)
        if total_fen == 0 or self.has(key):
            return 0
        lines = {held_of(about.merchant): -total_fen}
        for part in chosen:
            self._resolve(subject, part.part, captured_fen=part.amount_fen)
            name = FEE_ACCOUNTS[part.part]
            lines[name] = lines.get(name, 0) + part.amount_fen
        self.enter(key, "fees", lines, about, zh=zh, en=en)
        return total_fen

    def uncapture_fees(self, subject: str, *, key: str, about: About, zh: str, en: str) -> int:
        """Reverse the fees taken for a subject: they are frozen for it again; returns the amount."""
        taken = {part: fen for part in FEE_ACCOUNTS if (fen := self.captured_fen(subject, part)) > 0}
        total_fen = sum(taken.values())
        if total_fen == 0 or self.has(key):
            return 0
        lines = {held_of(about.merchant): total_fen}
        for part, amount_fen in taken.items():
            self._resolve(subject, part, captured_fen=-amount_fen)
            lines[FEE_ACCOUNTS[part]] = -amount_fen
        self.enter(key, "reverse", lines, about, zh=zh, en=en)
        return total_fen

    def credit(self, amount_fen: int, *, key: str, about: About, zh: str, en: str) -> bool:
        """Credit an owner for a piece: resold, or taken back by its stall; once per key (R83, D12)."""
        if amount_fen == 0 or self.has(key):
            return False
        return self.enter(
            key, "credit", {GOODS: -amount_fen, available_of(about.merchant): amount_fen}, about, zh=zh, en=en
        )

    def charge(self, amount_fen: int, *, key: str, about: About, zh: str, en: str) -> bool:
        """Take what a merchant accepted to pay on top (E7).

        Raises:
            RefusedError: `wallet.short`.
        """
        if amount_fen == 0 or self.has(key):
            return False
        if amount_fen > self.available_fen(about.merchant):
            raise RefusedError("wallet.short", "余额不足 / the wallet is short")
        return self.enter(
            key, "charge", {available_of(about.merchant): -amount_fen, GOODS: amount_fen}, about, zh=zh, en=en
        )

    def uncharge(self, amount_fen: int, *, key: str, about: About, zh: str, en: str) -> bool:
        """Reverse (part of) a charge: what a merchant had accepted to pay on top goes back to him."""
        if amount_fen == 0 or self.has(key):
            return False
        return self.enter(
            key, "reverse", {GOODS: -amount_fen, available_of(about.merchant): amount_fen}, about, zh=zh, en=en
        )

    def pay_stall(self, amount_fen: int, *, means: str, person: str, stall_id: str, key: str, about: About) -> bool:
        """A stall was paid (below zero: it paid back), by which means (D19). A positive amount leaves the float."""
        if amount_fen == 0:
            return False
        source = {"cash": f"float:{person}", "company": COMPANY}.get(means, stall_id)
        zh, en = ("付档口", "Paid to the stall") if amount_fen > 0 else ("档口退回", "Back from the stall")
        lines = {source: -amount_fen, OUTSIDE: amount_fen}
        return self.enter(key, "stall", lines, about, zh=f"{zh} {about.piece}", en=f"{en}, piece {about.piece}")

    def enter(self, key: str, kind: str, lines: Mapping[str, int], about: About, *, zh: str, en: str) -> bool:
        """Append an entry; False when its key stands already.

        Raises:
            InvariantError: the lines do not sum to zero, or a guarded account would go below zero.
        """
        rows = [(name, amount) for name, amount in lines.items() if amount != 0]
        if not rows or self.has(key):
            return False
        if sum(amount for _, amount in rows) != 0:
            raise InvariantError(f"entry {key} does not sum to zero")
        for name, amount in rows:
            self._move(name, amount)
        self._last_id += 1
        row: dict[str, Any] = {
            "id": self._last_id,
            "key": key,
            "kind": kind,
            "merchant": about.merchant,
            "order_id": about.order,
            "task": about.task,
            "piece": about.piece,
            "at_ms": self._now_ms,
            "causes": to_json(list(about.causes)),
            "zh": zh,
            "en": en,
        }
        digest = entry_digest(self._last_digest, row, rows)
        add(self._conn, s.entry, {**row, "prev": self._last_digest, "digest": digest})
        add_all(
            self._conn,
            s.posting,
            [
                {"entry": self._last_id, "line": line, "account": name, "amount_fen": amount}
                for line, (name, amount) in enumerate(rows, 1)
            ],
        )
        self._last_digest = digest
        return True

    # --- below ------------------------------------------------------------------------------------------------------------

    def _move(self, name: str, amount_fen: int) -> None:
        balance_fen = self.balance_fen(name) + amount_fen
        guarded = name.startswith("merchant:")
        if guarded and balance_fen < 0:
            raise InvariantError(f"{name} would fall to {balance_fen} fen")
        upsert(self._conn, s.account, ("name",), {"name": name, "balance_fen": balance_fen, "guarded": int(guarded)})
        self._balances[name] = balance_fen

    def _add_to_hold(self, part: HoldPart, about: About) -> None:
        before = read(self._conn, _HOLD, subject_=part.subject, part_=part.part).first()
        row = {
            "subject": part.subject,
            "part": part.part,
            "merchant": about.merchant,
            "order_id": about.order,
            "held_fen": part.amount_fen + (0 if before is None else before.held_fen),
        }
        upsert(self._conn, s.hold, ("subject", "part"), row)

    def _resolve(self, subject: str, part: str, *, captured_fen: int = 0, released_fen: int = 0) -> None:
        row = read(self._conn, _HOLD, subject_=subject, part_=part).first()
        held, captured, released = (0, 0, 0) if row is None else (row.held_fen, row.captured_fen, row.released_fen)
        captured += captured_fen
        released += released_fen
        if row is None or captured < 0 or captured + released > held:
            raise InvariantError(f"{subject} {part}: {captured} captured + {released} released of {held} held fen")
        moved = {"captured_fen": captured, "released_fen": released}
        change(self._conn, _MOVE_HOLD, subject_=subject, part_=part, **moved)


def entry_digest(prev: bytes, row: Mapping[str, Any], lines: Sequence[tuple[str, int]]) -> bytes:
    """The hash that chains an entry to the one before it; covers every column and line."""
    named = {name: row[name] for name in _CHAINED}
    return hashlib.sha256(prev + canonical_json([named, [list(line) for line in lines]])).digest()


_CHAINED: Final = ("id", "key", "kind", "merchant", "order_id", "task", "piece", "at_ms", "causes", "zh", "en")

_H = s.hold.c
_BALANCE: Final = select(s.account.c.balance_fen).where(s.account.c.name == bindparam("name_"))
_LAST_ENTRY: Final = select(s.entry.c.id, s.entry.c.digest).order_by(s.entry.c.id.desc()).limit(1)
_ENTRY: Final = select(s.entry.c.id).where(s.entry.c.key == bindparam("key_"))
_ABOUT: Final = select(s.entry.c.merchant, s.entry.c.order_id, s.entry.c.task, s.entry.c.piece).where(
    s.entry.c.key == bindparam("key_")
)
_HOLD: Final = select(s.hold).where(_H.subject == bindparam("subject_"), _H.part == bindparam("part_"))
_MOVE_HOLD: Final = update(s.hold).where(_H.subject == bindparam("subject_"), _H.part == bindparam("part_"))
_OPEN_PARTS: Final = (
    select(_H.part, (_H.held_fen - _H.captured_fen - _H.released_fen).label("open_fen"))
    .where(_H.subject == bindparam("subject_"))
    .order_by(_H.part)
)
