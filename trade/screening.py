"""Screen downloaded orders: what the stock serves, what a picker must buy, what waits for a person, and why.

Every copy of a line is judged by itself (D1), because two of three may lie on a shelf. Nothing here takes a piece or money:
the answer is a plan, which the server carries out in one transaction.
Pure. Amounts are whole fen, instants whole milliseconds. Rules R30-R37, R39, R66, R79, D12, D20, E25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from trade.product_code import ProductCode

HoldReason = Literal[
    "shipped", "refund", "remote_area", "message", "bad_code", "stall_closed", "too_old", "service_ended", "money"
]
"""Why a line waits for a person. The words for each are in `trade.words`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sku:
    """What makes two garments the same: stall and style, colour and size."""

    stall_id: str
    style: str
    colour: str = ""
    size: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineToScreen:
    """One order line. `code` is None when its product code could not be read; `cap_fen` is quote plus tolerance (D7)."""

    line: str
    code: ProductCode | None
    colour: str
    size: str
    copies: int
    cap_fen: int
    refund_asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderToScreen:
    """One order as the shop gave it; `message_read` means that a person has read the buyer's message and let it go on."""

    order: str
    merchant: str
    drop_ship: bool
    lines: tuple[LineToScreen, ...]
    price_fen: int = 0
    """What must be held for it, `trade.pricing.order_price(...).hold_fen`; 0 for own-shipped orders."""
    shipped: bool = False
    refund_asked: bool = False
    region: str = ""
    message: str = ""
    message_read: bool = False
    age_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StockPiece:
    """A piece on a shelf that passed inspection and is not bagged (D14). `owner` is a merchant's id or `platform`."""

    piece: str
    sku: Sku
    owner: str
    price_fen: int
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningRules:
    """A merchant's rules, and what the directory knows. `days_max` None: no order is too old."""

    remote_regions: frozenset[str] = frozenset()
    hold_messages: bool = True
    days_max: int | None = None
    closed_stalls: frozenset[str] = frozenset()
    service_ended: bool = False
    """The merchant's service period is over: running orders finish, no new drop-ship order starts (R85, E32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """The copy is served by this piece; no walk (R34, R66)."""

    piece: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """The copy is to be bought at its stall (R37, R67)."""

    sku: Sku


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The copy waits for a person."""

    reasons: tuple[HoldReason, ...]


Screening = Stock | Pick | Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The plan of one order: {line: one answer per copy}."""

    order: str
    lines: Mapping[str, tuple[Screening, ...]] = field(default_factory=dict)

    @property
    def holds(self) -> tuple[HoldReason, ...]:
        """Every reason that stands anywhere in the order, each once."""
        answers = [answer for copies in self.lines.values() for answer in copies]
        found: list[HoldReason] = [
            reason for answer in answers if isinstance(answer, Hold) for reason in answer.reasons
        ]
        return tuple(dict.fromkeys(found))

    @property
    def runs(self) -> bool:
        """True when at least one copy goes to the stock or to a picker."""
        return any(not isinstance(answer, Hold) for copies in self.lines.values() for answer in copies)


def screen(order: OrderToScreen, stock: Sequence[StockPiece], available_fen: int, rules: ScreeningRules) -> Screened:
    """Return the plan of one order.

    A reason that concerns the order holds all its lines; a refund or a bad code of one line holds only that line (R31).
    Pieces of `stock` are taken at most once; the order's own merchant's first, then the oldest (D12).
    """
    whole = order_reasons(order, available_fen, rules)
    left = list(stock)
    lines: dict[str, tuple[Screening, ...]] = {}
    for line in order.lines:
        reasons = whole + _line_reasons(line, rules)
        code = line.code
        if reasons or code is None:
            lines[line.line] = (Hold(reasons=reasons),) * line.copies
            continue
        answers: list[Screening] = []
        sku = sku_of(code, colour=line.colour, size=line.size)
        for _ in range(line.copies):
            piece = pick_stock(left, sku, merchant=order.merchant, cap_fen=line.cap_fen, own_only=not order.drop_ship)
            if piece is None:
                answers.append(Pick(sku=sku))
            else:
                left.remove(piece)
                answers.append(Stock(piece=piece.piece))
        lines[line.line] = tuple(answers)
    return Screened(order=order.order, lines=lines)


def order_reasons(order: OrderToScreen, available_fen: int, rules: ScreeningRules) -> tuple[HoldReason, ...]:
    """Return why the whole order waits; empty when it may go on. Money is asked last: nothing is held for what waits anyway."""
    checks: tuple[tuple[HoldReason, bool], ...] = (
        ("shipped", order.shipped),
        ("refund", order.refund_asked),
        ("remote_area", order.region in rules.remote_regions),
        ("message", rules.hold_messages and bool(order.message.strip()) and not order.message_read),
        ("too_old", rules.days_max is not None and order.age_days > rules.days_max),
        ("service_ended", rules.service_ended and order.drop_ship),
    )
    reasons: tuple[HoldReason, ...] = tuple(reason for reason, stands in checks if stands)
    if not reasons and order.drop_ship and order.price_fen > available_fen:
        return ("money",)
    return reasons


def pick_stock(
    stock: Sequence[StockPiece], sku: Sku, *, merchant: str, cap_fen: int, own_only: bool = False
) -> StockPiece | None:
    """Return the piece that serves a copy: the merchant's own first, then the oldest, never one dearer than the cap (D12).

    An own-shipped order takes only its merchant's pieces (D20), at whatever they cost him.
    """
    fitting = [
        piece
        for piece in stock
        if piece.sku == sku and (piece.owner == merchant if own_only else piece.price_fen <= cap_fen)
    ]
    return min(fitting, key=lambda piece: (piece.owner != merchant, piece.since_ms, piece.piece), default=None)


def sku_of(code: ProductCode, *, colour: str = "", size: str = "") -> Sku:
    """Return what is wanted: colour and size of the order line unless the code has them (D23)."""
    return Sku(
        stall_id=code.stall_id, style=code.style, colour=code.colour or colour.strip(), size=code.size or size.strip()
    )


def admit(waiting: Sequence[tuple[str, int]], available_fen: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (orders the money suffices for, orders that wait), both in the stated order (E25).

    `waiting` is [(order, price_fen)], oldest first. One that is too dear keeps its place and does not stop a cheaper one after it.
    """
    passed: list[str] = []
    left: list[str] = []
    for order, price_fen in waiting:
        if price_fen <= available_fen:
            available_fen -= price_fen
            passed.append(order)
        else:
            left.append(order)
    return tuple(passed), tuple(left)


def _line_reasons(line: LineToScreen, rules: ScreeningRules) -> tuple[HoldReason, ...]:
    checks: tuple[tuple[HoldReason, bool], ...] = (
        ("refund", line.refund_asked),
        ("bad_code", line.code is None),
        ("stall_closed", line.code is not None and line.code.stall_id in rules.closed_stalls),
    )
    return tuple(reason for reason, stands in checks if stands)
