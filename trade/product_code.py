"""Read a merchant's product code: which market, stall, quote and style an order line means.

Shape, as the sector writes it: `市场_楼层-档口_P报价_款号`, e.g. `国大_3F-315_P65_8821#`, optionally followed by `_colour` and
`_size`; anything after that is kept as `extra`. Full-width characters are read as half-width; a quote is whole fen.
Pure. Rules R7, R62, D23.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

from sync_core.errors import RefusedError
from trade.kinds import PRICE_FEN_MAX

EXAMPLE: Final = "国大_3F-315_P65_8821#"
LENGTH_MAX: Final = 200
PART_LENGTH_MAX: Final = 60
"""Market, stall and style become words of a task, which hold at most this many characters."""

_PRICE: Final = re.compile(r"^[Pp][¥￥]?(\d{1,6})(?:\.(\d{1,2}))?$")
_LIKE_PRICE: Final = re.compile(r"^[Pp][¥￥]?[-+\d]")

ProductCodeReason = Literal["empty", "too_long", "no_market", "no_stall", "no_price", "bad_price", "no_style"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductCode:
    """Where a product is bought, at which quote, and as which style. `floor`, `colour` and `size` may be empty."""

    market: str
    floor: str
    stall: str
    quote_fen: int
    style: str
    colour: str = ""
    size: str = ""
    extra: tuple[str, ...] = ()

    @property
    def stall_id(self) -> str:
        """The stall's subject id, `stall:market/floor/stall`."""
        return stall_id(self.market, self.floor, self.stall)


class ProductCodeError(RefusedError):
    """A product code that names no stall, price or style. `zh`/`en` say what is wrong, `fix`/`fix_en` what to write instead."""

    def __init__(self, reason: ProductCodeReason, zh: str, en: str, fix: str, fix_en: str) -> None:
        super().__init__(f"product_code.{reason}", f"{en}; {fix_en}")
        self.reason = reason
        self.zh = zh
        self.en = en
        self.fix = fix
        self.fix_en = fix_en


def read_product_code(text: str) -> ProductCode:
    """Return what a product code says.

    Raises:
        ProductCodeError: with what is missing and how to write it; never anything else.
    """
    clean = unicodedata.normalize("NFKC", text).strip()
    if not clean:
        raise _error("empty", "商品编码是空的", "the product code is empty")
    if len(clean) > LENGTH_MAX:
        raise _error("too_long", "商品编码太长", f"the product code has more than {LENGTH_MAX} characters")
    parts = [" ".join(part.split()) for part in clean.split("_")]
    market = parts[0]
    if not market or len(parts) < 2 or len(market) > PART_LENGTH_MAX:
        raise _error("no_market", f"编码里没有市场：{clean[:60]}", f"the code names no market: {clean[:60]}")
    floor, stall = _split_place(parts[1])
    if not stall or _PRICE.match(stall) or len(parts[1]) > PART_LENGTH_MAX:
        raise _error("no_stall", f"编码里没有档口：{clean[:60]}", f"the code names no stall: {clean[:60]}")
    price_at = next((index for index, part in enumerate(parts) if index >= 2 and _LIKE_PRICE.match(part)), None)
    if price_at is None:
        raise _error("no_price", f"编码里没有报价：{clean[:60]}", f"the code names no quote: {clean[:60]}")
    quote_fen = _read_price(parts[price_at], clean)
    rest = [part for index, part in enumerate(parts) if index >= 2 and index != price_at]
    if not rest or not rest[0] or len(rest[0]) > PART_LENGTH_MAX:
        raise _error("no_style", f"编码里没有款号：{clean[:60]}", f"the code names no style: {clean[:60]}")
    return ProductCode(
        market=market,
        floor=floor,
        stall=stall,
        quote_fen=quote_fen,
        style=rest[0],
        colour=rest[1] if len(rest) > 1 else "",
        size=rest[2] if len(rest) > 2 else "",
        extra=tuple(rest[3:]),
    )


def write_product_code(code: ProductCode) -> str:
    """Return the code's text; `read_product_code` of it gives the same code."""
    yuan, fen = divmod(code.quote_fen, 100)
    price = f"P{yuan}" if fen == 0 else f"P{yuan}.{fen:02d}".rstrip("0")
    parts = [code.market, f"{code.floor}-{code.stall}" if code.floor else code.stall, price, code.style]
    tail = [code.colour, code.size, *code.extra]
    while tail and not tail[-1]:
        tail.pop()
    return "_".join(parts + tail)


def stall_id(market: str, floor: str, stall: str) -> str:
    """Return the subject id of a stall."""
    return f"stall:{market}/{floor}/{stall}"


def _split_place(text: str) -> tuple[str, str]:
    """`3F-315` -> floor and stall; a place without a dash is all stall; a stall may hold further dashes (`A-1`)."""
    floor, dash, stall = text.partition("-")
    return (floor.strip(), stall.strip()) if dash else ("", floor.strip())


def _read_price(text: str, whole: str) -> int:
    match = _PRICE.match(text)
    quote_fen = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0")) if match else 0
    if not 0 < quote_fen <= PRICE_FEN_MAX:
        raise _error(
            "bad_price", f"报价不对：{text[:20]}（{whole[:60]}）", f"the quote {text[:20]} is no price: {whole[:60]}"
        )
    return quote_fen


def _error(reason: ProductCodeReason, zh: str, en: str) -> ProductCodeError:
    return ProductCodeError(
        reason,
        zh,
        en,
        f"请写成：市场_楼层-档口_P报价_款号，例如 {EXAMPLE}",
        f"write market_floor-stall_Pquote_style, like {EXAMPLE}",
    )
