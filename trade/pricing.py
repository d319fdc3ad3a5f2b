"""Money of an order: what is held for it, what a pick costs, when a price bounces, and when a keyed price looks wrong.

A phone calls these to predict, the server to decide; only the server's answer becomes a verdict.
For every piece its cap is held, not its quote: a phone may spend offline up to the cap, and the wallet must cover that (D7, D9).
Pure. Amounts are whole fen. Rules R65, R79-R82, D7, D8, E6-E8, E39.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from sync_core.errors import InvariantError
from trade.kinds import PRICE_FEN_MAX

BASIS_POINTS: Final = 10_000
ASK_MS_MAX: Final = 30 * 60 * 1000
"""A merchant who is asked about a price has 30 minutes, then the task bounces (D7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the merchant agreed to pay a stall for one piece: his quote, and the tolerance he adds to it (D7)."""

    quote_fen: int
    tolerance_fen: int = 0

    @property
    def cap_fen(self) -> int:
        """The most that may be paid, and what is held for the piece."""
        return min(self.quote_fen + self.tolerance_fen, PRICE_FEN_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """The price is within the cap: post `principal_fen`, release `release_fen` of what was held (R81, D8)."""

    principal_fen: int
    release_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """The stall wants `over_fen` more than the cap: the line goes back to the merchant (R80)."""

    over_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeTable:
    """What a merchant pays besides the goods. Commission is a fixed sum a piece plus a share of the quote in hundredths of a percent.

    `courier_fen_by_region` holds provinces whose parcel costs otherwise; an unknown region pays `courier_fen`.
    """

    commission_fen_per_piece: int = 0
    commission_basis_points: int = 0
    courier_fen: int = 0
    courier_fen_by_region: Mapping[str, int] = field(default_factory=dict)
    packing_fen: int = 0
    check_fen_per_piece: int = 0
    """Quality check, card, after-sales cover: the "etc." of R65, by piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWanted:
    """One order line to be bought: its quote and how many copies."""

    quote: Quote
    copies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PiecePrice:
    """One piece's share of an order's price, in order of its `piece_no`."""

    principal_fen: int
    """The cap: what is held for the goods."""
    commission_fen: int
    check_fen: int

    @property
    def total_fen(self) -> int:
        return self.principal_fen + self.commission_fen + self.check_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPrice:
    """What is held when a drop-ship order is accepted; the parts sum to `hold_fen`."""

    pieces: tuple[PiecePrice, ...]
    courier_fen: int
    packing_fen: int

    @property
    def principal_fen(self) -> int:
        return sum(piece.principal_fen for piece in self.pieces)

    @property
    def commission_fen(self) -> int:
        return sum(piece.commission_fen for piece in self.pieces)

    @property
    def check_fen(self) -> int:
        return sum(piece.check_fen for piece in self.pieces)

    @property
    def hold_fen(self) -> int:
        return self.principal_fen + self.commission_fen + self.check_fen + self.courier_fen + self.packing_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a corrected price changes: what the merchant pays more (or gets back, negative), and what the platform bears (D8)."""

    merchant_fen: int
    platform_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A keyed price that asks for a second look; `meant_fen` is what was probably meant, if that can be told (E8)."""

    reason: Literal["not_a_price", "ten_times", "a_tenth", "far_above", "far_below"]
    reference_fen: int
    meant_fen: int | None = None


def judge_pick(quote: Quote, *, paid_fen: int) -> Charge | Bounce:
    """Return what to post, or by how much the stall's price overshot the cap (R80, R81).

    Raises:
        InvariantError: `paid_fen` <= 0; the price pad makes that impossible.
    """
    if paid_fen <= 0:
        raise InvariantError(f"a pick price of {paid_fen} fen")
    if paid_fen > quote.cap_fen:
        return Bounce(over_fen=paid_fen - quote.cap_fen)
    return Charge(principal_fen=paid_fen, release_fen=quote.cap_fen - paid_fen)


def order_price(
    fees: FeeTable, lines: Sequence[LineWanted], *, region: str = "", with_courier: bool = True
) -> OrderPrice:
    """Return what an order needs held: per piece in line order, plus courier and packing (R65, R79).

    A share of the quotes is computed once for the order, rounded half up, and split by quote, so that the pieces sum to it (E39).
    """
    quotes = [line.quote for line in lines for _ in range(line.copies)]
    shared_fen = share_fen(sum(quote.quote_fen for quote in quotes), fees.commission_basis_points)
    shares = split_fen(shared_fen, [quote.quote_fen for quote in quotes])
    pieces = tuple(
        PiecePrice(
            principal_fen=quote.cap_fen,
            commission_fen=fees.commission_fen_per_piece + share,
            check_fen=fees.check_fen_per_piece,
        )
        for quote, share in zip(quotes, shares, strict=True)
    )
    shipped = with_courier and bool(pieces)
    return OrderPrice(
        pieces=pieces,
        courier_fen=fees.courier_fen_by_region.get(region, fees.courier_fen) if shipped else 0,
        packing_fen=fees.packing_fen if shipped else 0,
    )


def share_fen(amount_fen: int, basis_points: int) -> int:
    """Return so many hundredths of a percent of an amount, rounded half up to whole fen."""
    return (amount_fen * basis_points + BASIS_POINTS // 2) // BASIS_POINTS


def split_fen(total_fen: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Return `total_fen` split by weight in whole fen; the parts always sum to it (E39).

    Every part is rounded down, then the largest remainders get one fen each, the earlier first. Weights are >= 0; when all are 0
    the split is even. No weights: nothing to split.

    Raises:
        InvariantError: a total without anybody to bear it.
    """
    if not weights:
        if total_fen:
            raise InvariantError(f"{total_fen} fen and nobody to split them among")
        return ()
    whole = sum(weights)
    shares = list(weights) if whole else [1] * len(weights)
    whole = whole or len(weights)
    parts = [total_fen * share // whole for share in shares]
    remainders = sorted(range(len(shares)), key=lambda index: (-(total_fen * shares[index] % whole), index))
    for index in remainders[: total_fen - sum(parts)]:
        parts[index] += 1
    return tuple(parts)


def judge_correction(*, charged_fen: int, platform_fen: int, price_fen: int, still_held_fen: int) -> Correction:
    """Return who bears a corrected price (D8).

    `charged_fen` was posted to the merchant and `platform_fen` borne by the platform so far. A lower price frees the platform's
    part first; a higher one is the merchant's only within what is still held, the rest is the platform's.
    """
    change_fen = price_fen - charged_fen - platform_fen
    if change_fen >= 0:
        merchant_fen = min(change_fen, max(still_held_fen, 0))
        return Correction(merchant_fen=merchant_fen, platform_fen=change_fen - merchant_fen)
    freed_fen = min(-change_fen, platform_fen)
    return Correction(merchant_fen=change_fen + freed_fen, platform_fen=-freed_fen)


def owners_share(amount_fen: int, *, price_fen: int, borne_fen: int) -> int:
    """Return how much of what a piece brings back is its owner's; the rest is the platform's, which bore `borne_fen` of its price (D12).

    The owner comes first: price 64.00, of which the platform bore 4.00: of 50.00 all is his, of 62.00 and of 64.00 it is 60.00.
    """
    his_fen = max(price_fen - borne_fen, 0)
    return amount_fen - min(borne_fen, max(amount_fen - his_fen, 0))


def looks_wrong(paid_fen: int, *, quote_fen: int, last_fen: int | None = None) -> Doubt | None:
    """Return why a keyed price deserves a question, or None (E8).

    It is measured against the nearer of the quote and the last price paid for the style: a factor of two either way is unusual,
    close to ten or a hundred times is a slipped decimal point.
    """
    references = [reference for reference in (last_fen, quote_fen) if reference is not None and reference > 0]
    nearest_fen = min(references, key=lambda reference: abs(reference - paid_fen), default=0)
    if not 0 < paid_fen <= PRICE_FEN_MAX:
        return Doubt(reason="not_a_price", reference_fen=nearest_fen)
    if not nearest_fen:
        return None
    for factor in (10, 100):
        if _near(paid_fen, nearest_fen * factor):
            return Doubt(reason="ten_times", reference_fen=nearest_fen, meant_fen=paid_fen // factor or None)
        if _near(paid_fen * factor, nearest_fen) and paid_fen * factor <= PRICE_FEN_MAX:
            return Doubt(reason="a_tenth", reference_fen=nearest_fen, meant_fen=paid_fen * factor)
    if paid_fen > 2 * nearest_fen:
        return Doubt(reason="far_above", reference_fen=nearest_fen)
    if 2 * paid_fen < nearest_fen:
        return Doubt(reason="far_below", reference_fen=nearest_fen)
    return None


def _near(amount_fen: int, reference_fen: int) -> bool:
    """Within a quarter of the reference."""
    return 4 * abs(amount_fen - reference_fen) <= reference_fen
