"""Sign-in by PIN with no signal: guesses are slowed, neither the clock nor a restart shortens the wait, idle devices lock."""

from __future__ import annotations

from pathlib import Path

from clients.runtime.sign_in import IDLE_MS_MAX, SignIn
from tests.unit.clients.market import PIN, ROUTE, Bench, open_bench


async def test_rel_t5_nothing_is_shown_or_done_before_somebody_signs_in(field: Bench) -> None:
    field.node.sign_in.lock()
    assert (await field.get("/tasks"))["code"] == "sign_in.needed"
    answer = await field.post("/buy", tasks="T1-1")
    assert (answer["status"], answer["code"]) == (401, "sign_in.needed")
    assert field.facts() == 0


async def test_d20_the_right_pin_signs_in_and_the_action_carries_the_name(field: Bench) -> None:
    field.node.sign_in.lock()
    assert (await field.post("/sign-in", person="p1", pin=PIN))["name"] == "小王"
    await field.post("/buy", tasks="T1-1")
    state = field.replica.state("task:T1-1", ROUTE)
    assert state is not None
    assert state["purchases"][0]["person"] == "p1"


async def test_a_wrong_pin_is_refused_and_after_five_the_next_guess_waits(field: Bench) -> None:
    field.node.sign_in.lock()
    for _ in range(5):
        assert (await field.post("/sign-in", person="p1", pin="0000"))["code"] == "sign_in.wrong"
    waits = await field.post("/sign-in", person="p1", pin=PIN)
    assert (waits["code"], waits["status"]) == ("sign_in.wait", 401)
    assert "30" in waits["zh"]
    field.clock.advance(30_000)
    assert (await field.post("/sign-in", person="p1", pin=PIN))["ok"] is True
    assert field.node.sign_in.wait_ms("p1") == 0


async def test_the_wait_doubles_and_ends_at_an_hour(field: Bench) -> None:
    field.node.sign_in.lock()
    waits = []
    for _ in range(16):
        field.clock.advance(3_600_000)
        await field.post("/sign-in", person="p1", pin="0000")
        waits.append(field.node.sign_in.wait_ms("p1"))
    assert waits[4:8] == [30_000, 60_000, 120_000, 240_000]
    assert max(waits) == 3_600_000


async def test_a_restart_or_a_changed_clock_does_not_shorten_the_wait(field: Bench) -> None:
    field.node.sign_in.lock()
    for _ in range(6):
        field.clock.advance(40_000)
        await field.post("/sign-in", person="p1", pin="0000")
    field.clock.advance(50_000)
    restarted = SignIn(field.replica, field.clock)
    assert restarted.wait_ms("p1") == 60_000
    field.clock.wall += 86_400_000
    assert restarted.wait_ms("p1") == 60_000


async def test_names_nobody_bears_are_refused_like_a_wrong_pin_and_counted_together(field: Bench) -> None:
    field.node.sign_in.lock()
    for name in ("x", "y", "z", "p1'; --", "p2"):
        assert (await field.post("/sign-in", person=name, pin=PIN))["code"] == "sign_in.wrong"
    assert (await field.post("/sign-in", person="q", pin=PIN))["code"] == "sign_in.wait"
    assert (await field.post("/sign-in", person="p1", pin=PIN))["ok"] is True


async def test_rel_t5_ten_idle_minutes_lock_the_device_and_the_pulse_does_not_count(field: Bench) -> None:
    field.clock.advance(IDLE_MS_MAX - 1)
    assert (await field.get("/tasks"))["ok"] is True
    for _ in range(10):
        field.clock.advance(IDLE_MS_MAX // 10)
        await field.get("/pulse")
    assert (await field.get("/pulse"))["locked"] is True
    assert (await field.get("/tasks"))["code"] == "sign_in.needed"


async def test_a_device_that_knows_nobody_yet_says_so(tmp_path: Path) -> None:
    bench = open_bench(tmp_path, client="field")
    bench.replica.conn.execute("DELETE FROM state WHERE kind = 'device'")
    answer = await bench.post("/sign-in", person="p1", pin=PIN)
    assert answer["code"] == "sign_in.nobody"
    bench.node.close()


async def test_english_and_chinese_by_a_switch(field: Bench) -> None:
    async with field.browser(accept="text/html") as browser:
        chinese = (await browser.get("/tasks")).text
        assert "还要拿" in chinese
        await browser.post("/settings/language", data={"language": "en"})
        english = (await browser.get("/tasks")).text
    assert "to buy" in english
    assert (await field.post("/settings/language", language="fr"))["code"] == "form.choice"
