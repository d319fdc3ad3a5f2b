"""What a picker's taps do: facts, codes and labels in one transaction, and the questions before money changes hands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clients.field import actions
from sync_core.facts import Carried, Fact, Json
from tests.unit.clients.market import DEVICE, NOW_MS, ROUTE, TERMINAL, Bench, assigned
from trade import kinds
from trade.piece_code import check_piece_code, read_label_qr


def state_of(bench: Bench, task: str) -> dict[str, Any]:
    state = bench.replica.state(f"task:{task}", ROUTE)
    assert state is not None
    return state


async def test_r43_one_tap_buys_at_the_quote_and_queues_the_label(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T1-1")
    assert answer["ok"] is True
    (code,) = answer["pieces"]
    assert int(check_piece_code(code)[:5]) == DEVICE
    assert state_of(field, "T1-1")["status"] == "bought"
    (purchase,) = state_of(field, "T1-1")["purchases"]
    assert (purchase["price_fen"], purchase["means"], purchase["seen_recall"], purchase["late"]) == (
        6500,
        "cash",
        False,
        False,
    )
    (job,) = field.printers.jobs()
    assert (job.subject, job.state, job.copy_no) == (code, "queued", 1)


async def test_e12_the_label_carries_the_code_and_a_qr_with_all_a_stranger_needs(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T2-1")
    row = field.replica.conn.execute("SELECT label_json FROM print_job").fetchone()
    assert answer["pieces"][0] in row[0]
    start = row[0].index("NH1:")
    scanned = read_label_qr(row[0][start : row[0].index('"', start)])
    assert scanned.code == answer["pieces"][0]
    assert scanned.qr == kinds.LabelQr(
        task="T2-1", order="O2", piece_no=1, order_pieces=2, cell="A03", terminal=201, price_fen=6500
    )


async def test_a_double_tap_buys_once_and_gets_the_first_answer_again(field: Bench) -> None:
    first = await field.post("/buy", tasks="T1-1", action="tap-1")
    second = await field.post("/buy", tasks="T1-1", action="tap-1")
    assert (first["again"], second["again"]) == (False, True)
    assert first["pieces"] == second["pieces"]
    assert field.facts() == 1
    assert field.count("print_job") == 1


async def test_a_second_purchase_of_the_same_task_is_refused_and_changes_nothing(field: Bench) -> None:
    await field.post("/buy", tasks="T1-1")
    answer = await field.post("/buy", tasks="T1-1")
    assert (answer["status"], answer["code"]) == (409, "task.bought")
    assert field.facts() == 1


async def test_e5_two_of_three_are_bought_in_one_action_and_one_line_part_stays_open(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T3-1,T3-2,T3-3", count="2")
    assert len(answer["pieces"]) == 2
    assert field.facts() == 1
    assert field.count("print_job") == 2
    assert [state_of(field, f"T3-{n}")["status"] for n in (1, 2, 3)] == ["bought", "bought", "wanted"]
    await field.post("/answer", tasks="T3-3", answer="out_of_stock")
    assert state_of(field, "T3-3")["status"] == "answered"


async def test_d1_pieces_of_different_lines_do_not_go_together(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T1-1,T2-1")
    assert answer["code"] == "task.not_one_line"


@pytest.mark.parametrize(("price", "code"), [("65.01", "price.above_cap"), ("80", "price.above_cap")])
async def test_e6_above_the_cap_the_phone_refuses_to_label_and_offers_ask_or_bounce(
    field: Bench, price: str, code: str
) -> None:
    answer = await field.post("/buy", tasks="T1-1", price=price)
    assert (answer["status"], answer["code"]) == (409, code)
    assert [choice["address"] for choice in answer["choices"]] == ["/ask", "/bounce"]
    assert (field.facts(), field.count("print_job")) == (0, 0)
    asked = await field.post(answer["choices"][0]["address"], **answer["choices"][0]["fields"])
    assert asked["ok"] is True
    assert state_of(field, "T1-1")["status"] == "asked"


async def test_d7_an_accepted_question_raises_the_cap_on_the_phone(field: Bench) -> None:
    await field.post("/ask", tasks="T1-1", price="70")
    field.say(ROUTE, kinds.AskAnswered(accepted=True, cap_fen=7000).about("task:T1-1"))
    answer = await field.post("/buy", tasks="T1-1", price="70")
    assert answer["ok"] is True


async def test_r80_a_bounce_ends_the_task_on_the_phone(field: Bench) -> None:
    answer = await field.post("/bounce", tasks="T1-1", price="70")
    assert answer["ok"] is True
    assert state_of(field, "T1-1")["status"] == "bounced"


async def test_r80_a_price_within_the_cap_is_neither_asked_nor_bounced(field: Bench) -> None:
    assert (await field.post("/ask", tasks="T1-1", price="65"))["code"] == "price.within_cap"
    assert (await field.post("/bounce", tasks="T1-1", price="65"))["code"] == "price.within_cap"


async def test_e8_a_price_ten_times_too_high_or_low_is_asked_about_and_can_be_confirmed(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T1-1", price="650")
    assert answer["code"] == "price.ten_times"
    assert answer["choices"][0]["fields"]["price"] == "65"
    low = await field.post("/buy", tasks="T1-1", price="6.5")
    assert low["code"] == "price.a_tenth"
    confirmed = await field.post("/buy", tasks="T1-1", price="6.5", confirm="1")
    assert confirmed["price_fen"] == 650


@pytest.mark.parametrize(
    "price", ["0", "-5", "0.001", "10000.01", "1e3", "abc", "NaN", "inf", "６５．０１x", "1_0", "6,500"]
)
async def test_r11_absurd_prices_are_refused_in_plain_words(field: Bench, price: str) -> None:
    answer = await field.post("/buy", tasks="T1-1", price=price, confirm="1")
    assert answer["status"] == 409
    assert answer["code"] in ("price.absurd", "price.unreadable")
    assert answer["zh"]
    assert field.facts() == 0


async def test_d23_full_width_digits_are_a_price(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T1-1", price="６４．５")
    assert answer["price_fen"] == 6450


async def test_d20_an_own_shipped_order_only_warns_above_the_expected_price(field: Bench) -> None:
    field.say(ROUTE, assigned(9, drop_ship=False))
    warned = await field.post("/buy", tasks="T9-1", price="70")
    assert warned["code"] == "price.above_expected"
    assert (await field.post("/buy", tasks="T9-1", price="70", confirm="1"))["ok"] is True


async def test_r46_undo_takes_the_last_purchase_back_and_its_label_out_of_the_queue(field: Bench) -> None:
    await field.post("/buy", tasks="T1-1")
    answer = await field.post("/undo")
    assert answer["undone"] == "buy"
    assert state_of(field, "T1-1")["status"] == "wanted"
    assert field.count("print_job") == 0
    assert (await field.post("/undo"))["code"] == "undo.nothing"


async def test_r46_a_page_that_still_shows_an_undone_purchase_prints_no_label_of_it(field: Bench) -> None:
    (piece,) = (await field.post("/buy", tasks="T1-1"))["pieces"]
    await field.post("/undo")
    assert (await field.post("/reprint", piece=piece))["code"] == "piece.unknown"
    assert (await field.post("/correct", piece=piece, price="66"))["code"] == "piece.unknown"
    assert field.count("print_job") == 0


async def test_r46_undo_withdraws_an_answer(field: Bench) -> None:
    await field.post("/answer", tasks="T1-1", answer="style_gone")
    await field.post("/undo")
    assert state_of(field, "T1-1")["status"] == "wanted"


async def test_d6_a_dated_answer_needs_a_day_to_come(field: Bench) -> None:
    assert (await field.post("/answer", tasks="T1-1", answer="on_day"))["code"] == "answer.day"
    assert (await field.post("/answer", tasks="T1-1", answer="on_day", on_day="2026-05-01"))["code"] == "answer.day"
    assert (await field.post("/answer", tasks="T1-1", answer="on_day", on_day="2026-02-30"))["code"] == "answer.day"
    answer = await field.post("/answer", tasks="T1-1", answer="on_day", on_day="2026-05-04")
    assert answer["ok"] is True
    assert state_of(field, "T1-1")["answer"]["on_day"] == "2026-05-04"


async def test_d6_every_graded_answer_can_be_given(field: Bench) -> None:
    for answer in kinds.Answer:
        day = {"on_day": "2026-05-04"} if answer is kinds.Answer.ON_DAY else {}
        assert (await field.post("/answer", tasks="T1-1", answer=answer.value, **day))["ok"] is True, answer
        await field.post("/undo")


async def test_e9_a_reprint_is_the_same_code_with_the_next_copy_number(field: Bench) -> None:
    (code,) = (await field.post("/buy", tasks="T1-1"))["pieces"]
    answer = await field.post("/reprint", piece=code)
    assert (answer["piece"], answer["copy"]) == (code, 2)
    assert sorted(job.copy_no for job in field.printers.jobs()) == [1, 2]
    assert {job.subject for job in field.printers.jobs()} == {code}


async def test_e8_a_corrected_price_is_a_new_fact_never_an_edit(field: Bench) -> None:
    (code,) = (await field.post("/buy", tasks="T1-1"))["pieces"]
    answer = await field.post("/correct", piece=code, price="63")
    assert answer["price_fen"] == 6300
    assert field.facts() == 2
    piece = field.replica.state(f"piece:{code}", ROUTE)
    assert piece is not None
    assert [row["price_fen"] for row in piece["prices"]] == [6500, 6300]


async def test_e33_a_colleagues_task_is_shown_and_cannot_be_bought(field: Bench) -> None:
    field.say(ROUTE, assigned(8, assigned_to=102))
    answer = await field.post("/buy", tasks="T8-1")
    assert answer["code"] == "task.not_mine"
    rows = (await field.get("/tasks"))["tasks"]
    assert next(row for row in rows if row["task"] == "T8-1")["mine"] is False


async def test_d19_the_stalls_last_means_is_its_next_default(field: Bench) -> None:
    await field.post("/buy", tasks="T3-1", means="tab")
    await field.post("/buy", tasks="T3-2")
    assert state_of(field, "T3-2")["purchases"][0]["means"] == "tab"


async def test_killed_between_facts_and_label_leaves_nothing_of_either(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        pass

    def cut(*_args: object, **_kwargs: object) -> str:
        raise PowerCutError

    with field.transaction():
        field.replica.set_setting("piece_serial", 41)
    monkeypatch.setattr(field.printers, "enqueue", cut)
    with pytest.raises(PowerCutError):
        actions.buy(field.node, tasks=["T1-1"], price_fen=None, means=None, tap=actions.Tap())
    assert (field.facts(), field.count("print_job")) == (0, 0)
    assert field.replica.setting("piece_serial") == 41
    assert field.replica.setting(actions.LAST_ACTION) is None
    assert state_of(field, "T1-1")["status"] == "wanted"


async def test_full_disk_refuses_in_plain_words_and_records_nothing(field: Bench) -> None:
    pages = field.replica.conn.execute("PRAGMA page_count").fetchone()[0]
    field.replica.conn.execute(f"PRAGMA max_page_count = {pages}")
    answer: dict[str, Json] = {}
    for number in range(200):
        answer = await field.post("/reprint" if number else "/buy", tasks="T1-1", piece=_first_piece(field))
        if answer["status"] == 507:
            break
    assert (answer["status"], answer["code"]) == (507, "disk.full")
    before = field.facts()
    assert (await field.post("/undo"))["status"] in (200, 507)
    field.replica.conn.execute(f"PRAGMA max_page_count = {pages + 5000}")
    assert (await field.post("/buy", tasks="T2-1"))["ok"] is True
    assert field.facts() >= before + 1


def _first_piece(bench: Bench) -> str:
    row = bench.replica.conn.execute("SELECT subject FROM state WHERE kind = 'piece' LIMIT 1").fetchone()
    return str(row[0]).removeprefix("piece:") if row else "none"


async def test_e28_a_phone_whose_clock_is_a_day_off_works_and_is_not_late(field: Bench) -> None:
    field.clock.wall += 86_400_000
    await _look(field)
    answer = await field.post("/buy", tasks="T1-1")
    assert answer["ok"] is True
    assert state_of(field, "T1-1")["purchases"][0]["late"] is False


async def test_d13_after_the_deadline_the_phone_warns_and_records_bought_late(field: Bench) -> None:
    await _look(field)
    field.clock.advance(10 * 3_600_000)
    field.sign_in()
    await _look(field)
    warned = await field.post("/buy", tasks="T1-1")
    assert warned["code"] == "task.late"
    answer = await field.post(
        "/buy", tasks="T1-1", **{k: v for k, v in warned["choices"][0]["fields"].items() if k != "tasks"}
    )
    assert answer["ok"] is True
    assert state_of(field, "T1-1")["purchases"][0]["late"] is True


async def _look(bench: Bench) -> None:
    for look in bench.node.after_change:
        look()


async def test_d9_the_phone_says_by_itself_that_it_saw_the_recall_and_had_not_bought(field: Bench) -> None:
    field.say(ROUTE, kinds.TaskRecalled(reason="closed").about("task:T1-1"))
    await _look(field)
    state = state_of(field, "T1-1")
    assert (state["status"], state["recall_seen"]) == ("recalled", True)
    await _look(field)
    assert field.facts() == 1


async def test_d9_nothing_is_said_about_a_recall_of_what_was_bought(field: Bench) -> None:
    await field.post("/buy", tasks="T1-1")
    field.say(ROUTE, kinds.TaskRecalled(reason="closed").about("task:T1-1"))
    await _look(field)
    assert state_of(field, "T1-1")["recall_seen"] is False


async def test_d11_a_recall_that_arrives_with_the_page_open_is_not_seen(field: Bench) -> None:
    await field.get("/tasks")
    field.say(ROUTE, kinds.TaskRecalled(reason="closed").about("task:T1-1"))
    await _look(field)
    assert state_of(field, "T1-1")["recall_seen"] is False
    await field.post("/buy", tasks="T1-1", recall_shown="0")
    assert state_of(field, "T1-1")["purchases"][0]["seen_recall"] is False


async def test_d11_bought_from_under_the_red_band_is_bought_although_seen(field: Bench) -> None:
    field.say(ROUTE, kinds.TaskRecalled(reason="refund").about("task:T1-1"))
    rows = (await field.get("/tasks"))["tasks"]
    assert next(row for row in rows if row["task"] == "T1-1")["recalled"] is True
    answer = await field.post("/buy", tasks="T1-1", recall_shown="1")
    assert answer["ok"] is True
    assert state_of(field, "T1-1")["purchases"][0]["seen_recall"] is True


async def test_d11_once_the_red_band_was_shown_the_phone_says_so(field: Bench) -> None:
    await field.get("/tasks")
    field.say(ROUTE, kinds.TaskRecalled(reason="closed").about("task:T1-1"))
    await field.get("/tasks")
    await _look(field)
    assert state_of(field, "T1-1")["recall_seen"] is True


async def test_d9_an_answer_to_a_recalled_task_is_refused(field: Bench) -> None:
    field.say(ROUTE, kinds.TaskRecalled(reason="closed").about("task:T1-1"))
    assert (await field.post("/answer", tasks="T1-1", answer="out_of_stock"))["code"] == "task.recalled"


async def test_r41_search_finds_by_initials_digits_and_characters(field: Bench) -> None:
    for query, expected in (
        ("8821", {"T1-1", "T2-1"}),
        ("hs", {"T2-2"}),
        ("红", {"T2-2"}),
        ("3f101", {"T3-1", "T3-2", "T3-3"}),
    ):
        rows = (await field.get(f"/tasks?q={query}"))["tasks"]
        assert expected <= {row["task"] for row in rows}, query
    assert (await field.get("/tasks?q=zzzz"))["tasks"] == []


async def test_d5_the_walk_goes_on_from_the_stall_where_the_picker_last_acted(field: Bench) -> None:
    first = [row["stall"] for row in (await field.get("/tasks"))["tasks"]]
    assert first[0].endswith("/101")
    await field.post("/answer", tasks="T2-2", answer="unsure")
    after = [row["stall"] for row in (await field.get("/tasks"))["tasks"] if row["open"]]
    assert after[0].endswith("/315")


async def test_i14_an_action_that_did_not_win_is_in_the_inbox_and_in_the_bar(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T1-1")
    verdict = kinds.PurchaseVerdict(
        fact=answer["facts"][0], outcome="second", owner="platform", charged_fen=0, keeper="001020000010"
    )
    field.say(ROUTE, verdict.about("task:T1-1", f"piece:{answer['pieces'][0]}"))
    (entry,) = (await field.get("/inbox"))["entries"]
    assert entry["about"] == "T1-1"
    assert entry["garment"] == f"3F 315 · 8821# 黑色 M · 标签 {answer['pieces'][0][-4:]}"
    assert entry["calm"]
    assert "你没有做错" in entry["words"]
    assert (await field.get("/pulse"))["needs_person"] == 1
    await field.post("/inbox/seen", entry=entry["id"])
    assert (await field.get("/pulse"))["needs_person"] == 0
    assert (await field.get("/inbox"))["entries"][0]["seen"] is True


async def test_the_waiting_list_names_what_the_server_has_not_acknowledged(field: Bench) -> None:
    await field.post("/buy", tasks="T1-1")
    answer = await field.get("/waiting")
    assert answer["total"] == 1
    (line,) = answer["rows"][0]["lines"]
    assert "3F 315 · 8821# 黑色 M · 标签" in line
    assert "T1-1" not in line
    assert (await field.get("/pulse"))["waiting"] == 1


async def test_facts_of_a_stranger_kind_do_not_stop_the_list(field: Bench) -> None:
    field.say(ROUTE, Fact(kind="task.sung", subjects=("task:T1-1",), body={"song": "la"}))
    assert (await field.get("/tasks"))["ok"] is True


async def test_undo_is_offered_until_the_piece_is_in_the_warehouse(field: Bench) -> None:
    (piece,) = (await field.post("/buy", tasks="T1-1"))["pieces"]
    async with field.browser(accept="text/html") as browser:
        assert 'class="undo"' in (await browser.get("/tasks")).text
    scan = kinds.ScannedIn(cell=None).about(f"piece:{piece}")
    carried = Carried(fact_id=f"{TERMINAL}.1.0", person="cang", at_ms=NOW_MS, role="warehouse")
    field.say(ROUTE, replace(scan, carried=carried))
    async with field.browser(accept="text/html") as browser:
        assert 'class="undo"' not in (await browser.get("/tasks")).text
    assert (await field.post("/undo"))["code"] == "undo.in_warehouse"
