"""Stock answers, questions and bounces, and what merchants decide about them."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete, update

from server import commands as c
from server import schema_trade as st
from server.ledger import About, Ledger
from server.recount.money import check_money
from tests.unit.server.day import Day, Device
from trade import kinds

CODE = "国大_3F-315_P65_8821#"
PIECE_FEN = 6500 + 100
ORDER_FEN = 300 + 50
TASK = "T1001-1"


@pytest.fixture
def phone(day: Day) -> Device:
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    return phone


def answer(day: Day, phone: Device, said: kinds.Answer, task: str = TASK, on_day: str | None = None) -> str:
    body = kinds.TaskAnswered(answer=said, on_day=on_day)
    (fact,) = phone.say(phone.route(task), body.about(f"task:{task}", day.task(task).stall_id))
    return fact


def bounce(day: Day, phone: Device, price_fen: int, task: str = TASK) -> str:
    (fact,) = phone.say(
        phone.route(task), kinds.TaskBounced(price_fen=price_fen).about(f"task:{task}", day.task(task).stall_id)
    )
    return fact


def last_verdict(day: Day, document: str, kind: str) -> dict[str, object]:
    return dict(json.loads(day.said(document, kind)[-1].body))


def test_r46_out_of_stock_asks_the_merchant_and_keeps_the_money_held(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    question = day.one(st.decision)
    assert (question.kind, question.merchant, question.subject) == ("answer", "m1", f"task:{TASK}")
    assert last_verdict(day, phone.route(TASK), "verdict.answer")["next"] == "merchant_asked"
    assert day.money()[1] == PIECE_FEN + ORDER_FEN


def test_e4_bought_wins_over_out_of_stock(day: Day, phone: Device) -> None:
    other = day.enrol("picker", "bob")
    phone.sync(phone.route(TASK))
    phone.offline = True
    second = day.do(c.TaskReassign(task=TASK, device=other.number))["task"]
    code = other.buy(second, 6000)
    answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    phone.offline = False
    phone.deliver()
    assert last_verdict(day, phone.route(TASK), "verdict.answer")["outcome"] == "overruled"
    assert day.wanted(TASK).keeper == code
    assert not day.all(st.decision)


def test_e4_an_answer_is_overruled_by_a_later_purchase_of_the_same_phone(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    code = phone.buy(TASK, 6000)
    assert day.wanted(TASK).keeper == code
    assert day.one(st.decision).resolved_ms is not None


def test_r80_a_bounce_releases_the_money_and_asks_for_another_quote(day: Day, phone: Device) -> None:
    bounce(day, phone, 7200)
    assert day.money() == (100_000 - ORDER_FEN, ORDER_FEN)
    assert day.wanted(TASK).status == "bounced"
    told = day.do(c.TaskDecide(task=TASK, choice="requote", quote_fen=7300), by="merchant:m1:x")
    new = day.task(told["task"])
    assert (new.id, new.status, new.cap_fen, new.document) == (f"{TASK}.2", "out", 7300, day.task(TASK).document)
    assert day.money() == (100_000 - ORDER_FEN - 7400, ORDER_FEN + 7400)
    code = phone.buy(new.id, 7200)
    assert day.piece(code).outcome == "keeps"


def test_a_bounce_taken_back_freezes_the_money_again(day: Day, phone: Device) -> None:
    fact = bounce(day, phone, 7200)
    phone.say(phone.route(TASK), kinds.AnswerWithdrawn(fact=fact).about(f"task:{TASK}"))
    assert day.money()[1] == PIECE_FEN + ORDER_FEN
    assert day.piece(phone.buy(TASK, 6400)).outcome == "keeps"


def test_r80_bounced_again_after_a_slip_the_money_goes_back_again(day: Day, phone: Device) -> None:
    fact = bounce(day, phone, 7200)
    phone.say(phone.route(TASK), kinds.AnswerWithdrawn(fact=fact).about(f"task:{TASK}"))
    bounce(day, phone, 7300)
    assert day.money() == (100_000 - ORDER_FEN, ORDER_FEN)


def test_d7_i5_what_a_short_wallet_cannot_freeze_again_is_the_platforms(day: Day, phone: Device) -> None:
    """The phone bought within the cap behind its own bounce, and another order took the money meanwhile: somebody owns that."""
    bounce(day, phone, 7200)
    day.orders(f"A2|{CODE}|15")
    code = phone.buy(TASK, 6400)
    piece = day.piece(code)
    assert (piece.outcome, piece.charged_fen, piece.excess_fen) == ("over_cap", 0, 6400)
    told = day.one(st.discrepancy, st.discrepancy.c.code == "wallet_short")
    assert (told.owner, told.subject, "6400" in told.en) == ("platform", f"piece:{code}", True)
    with day.store.reading() as conn:
        assert [check.faults for check in check_money(conn) if not check.holds] == []


def test_i4_a_piece_within_its_cap_that_nobody_owns_is_a_fault(day: Day, phone: Device) -> None:
    bounce(day, phone, 7200)
    day.orders(f"A2|{CODE}|15")
    phone.buy(TASK, 6400)
    with day.store.transaction() as conn:
        conn.execute(delete(st.discrepancy).where(st.discrepancy.c.code == "wallet_short"))
    with day.store.reading() as conn:
        assert [check.name for check in check_money(conn) if not check.holds] == ["I4"]


def test_d11_bought_at_the_old_quote_after_a_lower_one_was_seen_charges_no_more_than_the_lower(
    day: Day, phone: Device
) -> None:
    bounce(day, phone, 7200)
    day.do(c.TaskDecide(task=TASK, choice="change_stall", code="国大_2F-201_P39_77#"))
    code = phone.buy(TASK, 6500, seen_recall=True)
    piece = day.piece(code)
    assert (piece.outcome, piece.charged_fen, piece.excess_fen) == ("over_cap", 3900, 2600)
    with day.store.reading() as conn:
        assert [fault for check in check_money(conn) for fault in check.faults] == []


def test_i4_a_price_that_nobody_pays_is_a_fault(day: Day, phone: Device) -> None:
    code = phone.buy(TASK, 6400)
    with day.store.transaction() as conn:
        conn.execute(update(st.piece).where(st.piece.c.code == code).values(price_fen=6300))
    with day.store.reading() as conn:
        faults = [fault for check in check_money(conn) for fault in check.faults]
    assert faults == [f"piece {code}: 6400 charged and 0 borne of 6300 fen paid"]


def test_r72_i4_fees_beyond_what_was_captured_are_a_fault(day: Day, phone: Device) -> None:
    code = phone.buy(TASK, 6400)
    about = About(merchant="m1", order=day.piece(code).order_id)
    with day.store.transaction() as conn:
        lines = {"merchant:m1:available": -100, "platform:commission": 100}
        Ledger(conn, day.now_ms).enter("more", "fees", lines, about, zh="多收", en="Taken again")
    with day.store.reading() as conn:
        faults = [fault for check in check_money(conn) for fault in check.faults]
    assert faults == [f"order {about.order}: 100 fen of fees taken, 0 captured of its holds"]


def test_d7_a_question_is_answered_within_thirty_minutes_or_bounces(day: Day, phone: Device) -> None:
    held = day.money()
    phone.say(phone.route(TASK), kinds.PriceAsked(price_fen=7000).about(f"task:{TASK}"))
    assert day.wanted(TASK).status == "asked"
    day.now_ms += 30 * 60 * 1000 + 2000
    day.work()
    assert day.wanted(TASK).status == "bounced"
    # The phone may not have heard and may still buy within the cap: its money stays frozen until it has answered (D13).
    assert day.money() == held
    assert day.ask(c.AskAnswer(task=TASK, accepted=True))["code"] == "ask.over"


def test_d7_a_question_of_an_attempt_that_was_taken_back_decides_nothing_about_the_next(
    day: Day, phone: Device
) -> None:
    bob = day.enrol("picker", "bob")
    phone.say(phone.route(TASK), kinds.PriceAsked(price_fen=7000).about(f"task:{TASK}"))
    day.now_ms += 20 * 60 * 1000
    second = day.do(c.TaskReassign(task=TASK, device=bob.number))["task"]
    bob.say(bob.route(second), kinds.PriceAsked(price_fen=6800).about(f"task:{second}"))
    assert day.ask(c.AskAnswer(task=TASK, accepted=True))["code"] == "ask.over"
    day.now_ms += 15 * 60 * 1000
    day.work()
    assert day.wanted(TASK).status == "asked", "its own half hour is not over"
    day.do(c.AskAnswer(task=second, accepted=True))
    assert day.task(second).cap_fen == 6800
    assert (day.piece(bob.buy(second, 6800)).outcome, day.money()[1]) == ("keeps", 100 + ORDER_FEN)


@pytest.mark.parametrize("short", [False, True])
def test_e26_a_bounced_task_given_to_another_phone_goes_out_with_its_money_frozen(
    day: Day, phone: Device, *, short: bool
) -> None:
    bob = day.enrol("picker", "bob")
    bounce(day, phone, 7200)
    assert day.money()[1] == ORDER_FEN
    if short:
        day.orders(f"A2|{CODE}|15")
    told = day.ask(c.TaskReassign(task=TASK, device=bob.number))
    if short:
        assert told["code"] == "wallet.short"
        assert (day.wanted(TASK).task, day.wanted(TASK).status) == (TASK, "bounced")
        return
    assert day.money()[1] == PIECE_FEN + ORDER_FEN
    assert not day.all(st.decision, st.decision.c.resolved_ms.is_(None)), "nobody is asked for another quote any more"
    piece = day.piece(bob.buy(told["task"], 6400))
    assert (piece.outcome, piece.charged_fen) == ("keeps", 6400)


@pytest.mark.parametrize("word", ["answer", "bounce", "ask"])
def test_d9_what_a_phone_says_of_a_colleagues_task_decides_nothing_about_it(day: Day, phone: Device, word: str) -> None:
    """Neither does one to which a lost server had given the same task: the money stays frozen for whoever has it."""
    bob = day.enrol("picker", "bob")
    day.orders(f"A2|{CODE}|1")
    day.do(c.RoutesAssign(devices=[bob.number]))
    bodies: dict[str, kinds.FactBody] = {
        "answer": kinds.TaskAnswered(answer=kinds.Answer.STYLE_GONE),
        "bounce": kinds.TaskBounced(price_fen=9000),
        "ask": kinds.PriceAsked(price_fen=9000),
    }
    subjects = (f"task:{TASK}", *(() if word == "ask" else (day.task(TASK).stall_id,)))
    before = day.money()
    bob.say(bob.route("T1002-1"), bodies[word].about(*subjects))
    assert (day.wanted(TASK).status, day.task(TASK).status, day.money()) == ("out", "out", before)
    assert not day.all(st.decision)
    assert day.piece(phone.buy(TASK, 6400)).outcome == "keeps"


@pytest.mark.parametrize("then", ["withdrawn", "bought", "reassigned", "asked"])
def test_e26_answered_after_its_bounce_a_task_goes_on_with_its_money_frozen(day: Day, phone: Device, then: str) -> None:
    """The bounce gave it back, and the answer of the same phone did not freeze it: nobody may buy on it at the platform's cost."""
    bounce(day, phone, 7200)
    slip = answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    assert (day.wanted(TASK).status, day.money()[1]) == ("answered", ORDER_FEN)
    assert [row.kind for row in day.all(st.decision, st.decision.c.resolved_ms.is_(None))] == ["answer"]
    buyer, task, cap_fen = phone, TASK, 6500
    match then:
        case "withdrawn":
            phone.say(phone.route(TASK), kinds.AnswerWithdrawn(fact=slip).about(f"task:{TASK}"))
        case "reassigned":
            buyer = day.enrol("picker", "bob")
            task = day.do(c.TaskReassign(task=TASK, device=buyer.number))["task"]
        case "asked":
            phone.say(phone.route(TASK), kinds.PriceAsked(price_fen=7000).about(f"task:{TASK}"))
            day.do(c.AskAnswer(task=TASK, accepted=True), by="merchant:m1:x")
            cap_fen = 7000
        case _:
            pass
    if then != "bought":
        assert day.money()[1] == cap_fen + 100 + ORDER_FEN
    piece = day.piece(buyer.buy(task, 6400))
    assert (piece.outcome, piece.charged_fen, piece.excess_fen) == ("keeps", 6400, 0)
    assert day.money()[1] == cap_fen - 6400 + 100 + ORDER_FEN


def test_e29_a_task_whose_money_went_back_waits_for_its_merchant_when_its_phone_is_handed_over(
    day: Day, phone: Device
) -> None:
    bob = day.enrol("picker", "bob")
    bounce(day, phone, 7200)
    fact = answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    day.orders(f"A2|{CODE}|15")
    day.do(c.RoutesAssign(devices=[phone.number]))
    assert day.do(c.TasksHandOver(device=phone.number, to=bob.number))["tasks"] == 15
    phone.say(phone.route(TASK), kinds.AnswerWithdrawn(fact=fact).about(f"task:{TASK}"))
    assert day.wanted(TASK).status == "answered", "the wallet is short: the merchant is asked as before"


def test_d7_a_lower_price_asked_before_the_answer_was_heard_lowers_no_cap(day: Day, phone: Device) -> None:
    phone.say(phone.route(TASK), kinds.PriceAsked(price_fen=7000).about(f"task:{TASK}"))
    phone.sync(phone.route(TASK))
    phone.offline = True
    phone.say(phone.route(TASK), kinds.PriceAsked(price_fen=6800).about(f"task:{TASK}"))
    day.do(c.AskAnswer(task=TASK, accepted=True), by="merchant:m1:x")
    phone.offline = False
    phone.deliver()
    day.do(c.AskAnswer(task=TASK, accepted=True), by="merchant:m1:x")
    assert day.state(phone.route(TASK), f"task:{TASK}")["cap_fen"] == day.task(TASK).cap_fen == 7000
    piece = day.piece(phone.buy(TASK, 7000))
    assert (piece.outcome, piece.charged_fen) == ("keeps", 7000)


def test_d7_an_accepted_question_raises_the_cap_and_the_hold(day: Day, phone: Device) -> None:
    phone.say(phone.route(TASK), kinds.PriceAsked(price_fen=7000).about(f"task:{TASK}"))
    day.do(c.AskAnswer(task=TASK, accepted=True), by="merchant:m1:x")
    assert day.money()[1] == PIECE_FEN + ORDER_FEN + 500
    code = phone.buy(TASK, 7000)
    assert (day.piece(code).outcome, day.piece(code).charged_fen) == ("keeps", 7000)


def test_r69_closing_a_line_after_a_stock_answer_gives_its_money_back(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    day.do(c.TaskDecide(task=TASK, choice="close_line"))
    assert day.money() == (100_000 - PIECE_FEN, PIECE_FEN), "the phone has not seen it yet: it may still buy"
    phone.say(phone.route(TASK), kinds.RecallSeen().about(f"task:{TASK}"))
    assert day.money() == (100_000, 0)


def test_i13_the_last_line_closed_closes_the_order_and_gives_its_courier_fee_back(day: Day, phone: Device) -> None:
    day.orders(f"A2|{CODE}|2")
    day.do(c.RoutesAssign())
    held_fen = day.money()[1]
    for task, left in (("T1002-1", "out"), ("T1002-2", "closed")):
        answer(day, phone, kinds.Answer.STYLE_GONE, task=task)
        day.do(c.TaskDecide(task=task, choice="close_line" if left == "out" else "delist"))
        phone.say(phone.route(task), kinds.RecallSeen().about(f"task:{task}"))
        assert day.order("O1002").status == left
    assert day.money()[1] == held_fen - 2 * PIECE_FEN - ORDER_FEN
    assert day.state(day.warehouse(), "order:O1002")["closed"]


def test_i13_a_shops_setting_that_closes_the_last_line_closes_the_order(day: Day, phone: Device) -> None:
    day.do(c.ShopSet(shop="小满", merchant="m1", default_answer="close_line"))
    answer(day, phone, kinds.Answer.TOMORROW)
    day.do(c.DayClose())
    assert day.order("O1001").status == "closed"
    assert day.money()[1] == PIECE_FEN, "its phone may still buy"


def test_r47_change_stall_makes_a_new_attempt_at_the_other_stall(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.STYLE_GONE)
    told = day.do(c.TaskDecide(task=TASK, choice="change_stall", code="国大_2F-201_P60_77#"))
    new = day.task(told["task"])
    assert (new.stall_id, new.cap_fen, new.replaces) == ("stall:国大/2F/201", 6000, TASK)
    assert day.task(TASK).recalled == "stall_changed"
    assert day.state(day.warehouse(), f"task:{new.id}")["assigned"]["replaces"] == TASK


def test_r50_on_a_day_the_task_waits_for_that_day(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    today = day.task(TASK).day
    told = day.do(c.TaskDecide(task=TASK, choice="on_day", on_day="2027-03-01"))
    assert told["status"] == "ready"
    assert day.do(c.RoutesAssign(day=today))["tasks"] == 0
    assert day.do(c.RoutesAssign(day="2027-03-01"))["tasks"] == 1


def test_d6_unanswered_the_shops_setting_re_enters_at_the_daily_close(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.TOMORROW)
    assert last_verdict(day, phone.route(TASK), "verdict.answer")["next"] == "again_on_day"
    assert day.do(c.DayClose())["answered"] == 1
    assert day.wanted(TASK).task == f"{TASK}.2"
    assert day.wanted(TASK).not_before is not None


def test_d6_what_a_wallet_cannot_pay_at_risen_fees_stays_as_it_was_answered(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.TOMORROW)
    day.do(c.FeesSet(commission_fen_per_piece=2_000_00, courier_fen=300, packing_fen=50))
    before = day.money()
    assert day.do(c.DayClose())["answered"] == 0
    assert (day.wanted(TASK).task, day.wanted(TASK).status) == (TASK, "answered")
    assert [row.id for row in day.all(st.task)] == [TASK]
    assert day.money() == before


def test_e36_the_third_tomorrow_stops_the_task(day: Day, phone: Device) -> None:
    task = TASK
    for year in (2028, 2029):
        answer(day, phone, kinds.Answer.TOMORROW, task)
        day.now_ms += 24 * 3600 * 1000
        day.do(c.DayClose(day=day.task(task).day))
        day.do(c.RoutesAssign(day=f"{year}-12-31"))
        task = day.wanted(TASK).task
    answer(day, phone, kinds.Answer.TOMORROW, task)
    assert last_verdict(day, phone.route(task), "verdict.answer")["next"] == "stopped"
    assert day.do(c.DayClose(day=day.task(task).day))["answered"] == 0


def test_an_answer_withdrawn_opens_the_task_again(day: Day, phone: Device) -> None:
    fact = answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    phone.say(phone.route(TASK), kinds.AnswerWithdrawn(fact=fact).about(f"task:{TASK}"))
    assert day.wanted(TASK).status == "out"
    assert day.one(st.decision).choice == "withdrawn"


def test_i11_a_merchant_cannot_decide_about_another_ones_task(day: Day, phone: Device) -> None:
    answer(day, phone, kinds.Answer.OUT_OF_STOCK)
    before = day.money()
    told = day.ask(c.TaskDecide(task=TASK, choice="close_line"), by="merchant:m2:x")
    assert told["code"] == "command.owner"
    assert day.money() == before
    assert day.wanted(TASK).status == "answered"


def test_a_new_quote_the_wallet_cannot_cover_changes_nothing(day: Day, phone: Device) -> None:
    bounce(day, phone, 7200)
    before = day.money()
    told = day.ask(c.TaskDecide(task=TASK, choice="requote", quote_fen=9999_00))
    assert told["code"] == "wallet.short"
    assert day.money() == before
    assert day.wanted(TASK).status == "bounced"
    assert not day.all(st.task, st.task.c.id == f"{TASK}.2")


def test_i4_money_posted_for_a_purchase_that_was_taken_back_is_a_fault(day: Day, phone: Device) -> None:
    code = phone.buy(TASK, 6400)
    with day.store.transaction() as conn:
        conn.execute(update(st.piece).where(st.piece.c.code == code).values(place="undone", outcome="undone"))
    with day.store.reading() as conn:
        faults = [fault for check in check_money(conn) for fault in check.faults]
    assert f"piece {code}: taken back, and 6400 fen stay posted for it" in faults
