"""What the browser tests' replicas hold before the page opens."""

from __future__ import annotations

import time
from typing import Any

from sync_core.facts import Fact
from tests.unit.clients.market import DEVICE, ROUTE, TERMINAL, TRIP, WALL, Bench, opened
from tests.unit.clients.market import assigned as assigned_on_a_day
from tests.unit.clients.test_warehouse import KEY, bought, waybill
from trade import kinds
from trade.calendar import MarketCalendar, business_day
from trade.piece_code import mint_piece_code

RETURN_CODE = str(mint_piece_code(DEVICE, 900_001))


def assigned(order: int, piece: int = 1, /, **changes: Any) -> Fact:
    """An assignment for today's business day."""
    today = business_day(int(time.time() * 1000), MarketCalendar())
    cap_fen = changes.get("quote_fen", 6500)
    return assigned_on_a_day(order, piece, **{"day": today, "cap_fen": cap_fen, **changes})


def pickers_morning(bench: Bench) -> None:
    """Seven pieces at four stalls: a single, an order of two, three copies of a line, a dear one."""
    now_ms = int(time.time() * 1000) - 600_000
    names = ("315", "210", "101")
    bench.say(ROUTE, opened(**{f"n{DEVICE}": "picker"}), at_ms=now_ms)
    bench.say(ROUTE, assigned(1, requirements="查线头"), at_ms=now_ms)
    two = {"order_pieces": 2, "cell": "A03", "terminal": TERMINAL}
    bench.say(ROUTE, assigned(2, 1, **two), at_ms=now_ms)
    bench.say(
        ROUTE,
        assigned(2, 2, **two, line="O2-L2", style="P77", stall=names[1], colour="红色", quote_fen=3950, cap_fen=3950),
        at_ms=now_ms,
    )
    for copy in (1, 2, 3):
        bench.say(
            ROUTE,
            assigned(
                3,
                copy,
                copies=3,
                order_pieces=3,
                stall=names[2],
                style="K9",
                colour="奶白",
                size="均码",
                quote_fen=4800,
                cap_fen=5000,
            ),
            at_ms=now_ms,
        )
    bench.say(
        ROUTE,
        assigned(
            4,
            stall="B12",
            floor="2F",
            style="西装外套 6620",
            colour="卡其",
            size="XL",
            quote_fen=12_850,
            cap_fen=12_850,
        ),
        at_ms=now_ms,
    )
    bench.say(
        ROUTE, assigned(5, stall="315", style="9907", colour="黑色", size="L", assigned_to=DEVICE + 1), at_ms=now_ms
    )


def runners_bag(bench: Bench) -> None:
    """Two return pieces of one stall, one close to its term."""
    now_ms = int(time.time() * 1000)
    bench.say(TRIP, opened(**{f"n{DEVICE}": "runner"}))
    bench.say(
        TRIP,
        given(RETURN_CODE, now_ms - 2 * 86_400_000),
        given(str(mint_piece_code(DEVICE, 900_002)), now_ms - 6 * 86_400_000),
    )


def given(code: str, bought_at_ms: int) -> Fact:
    """A piece of the runner's trip."""
    garment = kinds.ReturnedPiece(
        piece=code, task="T1-1", style="8821#", colour="黑色", size="M", market="国大", floor="3F", stall="315",
        paid_fen=6500, picker="小王", bought_at_ms=bought_at_ms,
    )  # fmt: skip
    return kinds.TripAssigned(garment=garment, merchant="M1", merchant_name="小店").about(f"piece:{code}", "trip:bag-1")


def wall_of_the_day(bench: Bench) -> None:
    """A single, an order of two, one whose refund is asked, one held for its address; keys are here."""
    two = {"order_pieces": 2, "cell": "A03", "terminal": TERMINAL}
    bench.say(WALL, opened(**{f"n{TERMINAL}": "warehouse"}))
    bench.say(WALL, assigned(1), bought(1, 1, 1), waybill(1, 1))
    bench.say(WALL, assigned(2, 1, **two), assigned(2, 2, **two), bought(2, 1, 21), waybill(2, 1, 2))
    bench.say(WALL, assigned(3), bought(3, 1, 31), waybill(3, 1), kinds.RefundAsked().about("order:O3"))
    held = kinds.ParcelHeld(reason="address_needed", tasks=["T4-1"]).about("parcel:P4", "order:O4")
    bench.say(WALL, assigned(4), bought(4, 1, 41), held)
    with bench.transaction() as conn:
        conn.executemany("INSERT INTO parcel_key VALUES (?, ?, 0)", [(f"P{order}", KEY) for order in (1, 2, 3, 4)])
