"""The runner at the stall: the facts of the purchase, money back, refused with a reason; no assumed success (D15)."""

from __future__ import annotations

from sync_core.facts import Fact
from tests.unit.clients.market import DEVICE, NOW_MS, ROUTE, TRIP, Bench, opened, scope
from trade import kinds
from trade.piece_code import mint_piece_code

CODE = str(mint_piece_code(DEVICE, 7))


def given(**changes: object) -> Fact:
    fields: dict[str, object] = {
        "piece": CODE, "task": "T1-1", "style": "8821#", "colour": "黑色", "size": "M", "market": "国大", "floor": "3F",
        "stall": "315", "paid_fen": 6500, "picker": "小王", "bought_at_ms": NOW_MS - 2 * 86_400_000,
    }  # fmt: skip
    garment = kinds.ReturnedPiece.model_validate({**fields, **changes})
    return kinds.TripAssigned(garment=garment, merchant="M1", merchant_name="小店").about(
        f"piece:{garment.piece}", "trip:bag-1"
    )


async def test_r59_the_stall_page_shows_price_picker_time_and_stall(field: Bench) -> None:
    field.say(TRIP, given())
    answer = await field.get(f"/trip/{CODE}")
    assert (answer["paid_fen"], answer["picker"], answer["stall"]) == (6500, "小王", "stall:国大/3F/315")
    assert (answer["bought_at_ms"], answer["days_left"]) == (NOW_MS - 2 * 86_400_000, 5)
    assert (await field.post("/trip/find", code=CODE[-4:]))["piece"] == CODE


async def test_r60_one_tap_records_the_whole_price_and_ends_the_piece(field: Bench) -> None:
    field.say(TRIP, given())
    answer = await field.post("/trip/refund", piece=CODE)
    assert answer["received_fen"] == 6500
    assert (await field.get("/trip"))["pieces"][0]["place"] == "back_at_stall"
    assert (await field.post("/trip/refund", piece=CODE))["code"] == "return.ended"


async def test_e22_less_is_recorded_as_it_is_and_more_is_asked_about(field: Bench) -> None:
    field.say(TRIP, given())
    more = await field.post("/trip/refund", piece=CODE, received="66")
    assert more["code"] == "refund.unusual"
    nothing = await field.post("/trip/refund", piece=CODE, received="0")
    assert nothing["code"] == "refund.none"
    less = await field.post("/trip/refund", piece=CODE, received="60", means="credit")
    assert less["received_fen"] == 6000


async def test_e23_a_refusal_says_why_and_where_the_piece_is(field: Bench) -> None:
    field.say(TRIP, given())
    kept = await field.post("/trip/refuse", piece=CODE, reason="tag_missing", then="keep_trying")
    assert kept["ok"] is True
    assert (await field.get("/trip"))["pieces"][0]["place"] == "with_runner"
    ended = await field.post("/trip/refuse", piece=CODE, reason="price_fell", then="left_at_stall")
    assert ended["ok"] is True
    assert (await field.get("/trip"))["pieces"][0]["place"] == "left_at_stall"
    wrong = await field.post("/trip/refuse", piece=CODE, reason="mood", then="left_at_stall")
    assert wrong["status"] in (409, 422)


async def test_a_piece_of_another_bag_is_not_found(field: Bench) -> None:
    field.say(TRIP, given())
    other = str(mint_piece_code(DEVICE, 8))
    assert (await field.post("/trip/find", code=other))["code"] == "return.not_in_bag"


async def test_a_piece_of_an_earlier_bag_is_found_by_its_last_digits_in_the_one_it_is_in_now(field: Bench) -> None:
    second = TRIP.replace("trip-1", "trip-2")
    field.say(TRIP, given())
    await field.post("/trip/refuse", piece=CODE, reason="denies", then="bring_back")
    field.say(TRIP, kinds.PieceBroughtBack().about(f"piece:{CODE}"))
    field.say(f"device/{DEVICE}/1", scope([ROUTE, TRIP, second], "field").about(f"device:{DEVICE}"))
    field.say(second, opened(n101="runner"), given())
    assert (await field.post("/trip/find", code=CODE[-4:]))["piece"] == CODE
    assert (await field.post("/trip/refund", piece=CODE))["received_fen"] == 6500
    assert (field.replica.state(f"piece:{CODE}", second) or {})["place"] == "back_at_stall"
