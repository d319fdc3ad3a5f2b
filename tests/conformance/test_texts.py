"""U+0000 and halves of characters: refused by the same code on SQLite and PostgreSQL, and nobody behind them waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import insert

from server import commands as c
from server import schema as s
from server.rows import to_json
from sync_core.errors import MalformedError
from sync_core.facts import Envelope, Fact
from sync_core.gate import HEADER_BYTES, Run, digest_of, empty_head, seal
from sync_core.hub import LogRow, Outcome, Submission, commit_batch
from sync_core.payload import canonical_json, decode_payload, encode_payload
from tests.unit.server.day import Day, Device, open_day
from trade import kinds

TASK = "T1001-1"
FACTS: dict[str, dict[str, Any]] = {
    "subject": {"s": ["piece:\0", "task:T1001-1"]},
    "kind": {"k": "piece.\0"},
    "body": {"b": {"note": "a\0b"}},
    "body, in depth": {"b": {"a": [{"b": "\0"}]}},
    "key of a body": {"b": {"\0": 1}},
    "role of a copy": {"c": {"i": "0.1.0", "p": "x", "t": 1, "r": "server\0"}},
}


@pytest.fixture(params=["sqlite", "postgresql"])
def day(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Day]:
    url = None if request.param == "sqlite" else request.getfixturevalue("empty_postgresql")
    opened = open_day(tmp_path / "server", database=url)
    yield opened
    opened.store.close()


@pytest.fixture
def phone(day: Day) -> Device:
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders("A1|国大_3F-315_P65_8821#|1")
    day.do(c.RoutesAssign())
    return phone


def sealed(phone: Device, document: str, payload: bytes) -> bytes:
    head = phone.heads.get(document) or empty_head(document)
    return seal(payload, head.digest, phone.signer.sign)


def payload(**fact: Any) -> bytes:
    """The first payload of a phone, with one fact that is said as `fact` says."""
    said = {"k": "task.answered", "s": [f"task:{TASK}"], "b": {"answer": "unsure"}, **fact}
    return canonical_json({"d": 101, "q": 1, "p": "ann", "t": 1, "v": 1, "b": {}, "f": [said]})


def hand_in(day: Day, phone: Device, document: str, stored: bytes) -> Outcome:
    run = Run(device=phone.number, first_seq=1, stored=(stored,))
    one = Submission(document=document, runs=(run,), sent_by=phone.number, received_ms=day.now_ms)
    with day.store.transaction():
        (outcome,) = commit_batch(day.store, [one])
    day.work()
    return outcome


@pytest.mark.parametrize("where", FACTS)
def test_u0000_is_refused_by_the_gate_and_the_day_goes_on(day: Day, phone: Device, where: str) -> None:
    route = phone.route(TASK)
    bad = sealed(phone, route, payload(**FACTS[where]).replace(b'"d":101', b'"d":%d' % phone.number))
    outcome = hand_in(day, phone, route, bad)
    assert outcome.refusal is not None
    assert (outcome.refusal.code, outcome.fresh) == ("gate.text", 0)
    assert [row.code for row in day.all(s.quarantine)] == ["gate.text"]
    assert day.piece(phone.buy(TASK, 6500)).outcome == "keeps"


def test_half_a_character_is_refused_by_the_gate_and_the_day_goes_on(day: Day, phone: Device) -> None:
    route = phone.route(TASK)
    half = payload(s=["piece:HALF"]).replace(b'"d":101', b'"d":%d' % phone.number).replace(b"HALF", rb"\ud800")
    outcome = hand_in(day, phone, route, sealed(phone, route, half))
    assert outcome.refusal is not None
    assert outcome.refusal.code == "gate.json"
    assert day.piece(phone.buy(TASK, 6500)).outcome == "keeps"


def test_what_an_older_gate_let_into_the_log_is_told_and_stops_nobody(day: Day, phone: Device) -> None:
    route = phone.route(TASK)
    bad = sealed(phone, route, payload(s=["piece:\0"]).replace(b'"d":101', b'"d":%d' % phone.number))
    with day.store.transaction():
        row = LogRow(device=phone.number, seq=1, stored=bad, digest=digest_of(bad), received_ms=day.now_ms)
        day.store.append(route, [row])
    phone.heads[route] = day.store.heads(route)[phone.number]
    day.work()
    assert "authority_failed" in day.discrepancies()
    assert day.piece(phone.buy(TASK, 6500)).outcome == "keeps"


def test_a_device_never_signs_such_a_text() -> None:
    for text, code in (("a\0b", "gate.text"), ("a\ud800b", None)):
        fact = Fact(kind="task.answered", subjects=("task:T1",), body={"note": text})
        envelope = Envelope(device=101, seq=1, person="ann", at_ms=1, schema=1, basis={}, facts=(fact,))
        with pytest.raises((MalformedError, UnicodeEncodeError)) as caught:
            encode_payload(envelope)
        assert code is None or getattr(caught.value, "code", None) == code


def test_a_command_with_u0000_is_refused_before_it_is_kept(day: Day) -> None:
    with pytest.raises(ValidationError, match="U\\+0000"):
        c.OrderClose(order="O1001", reason="a\0b")
    with day.store.transaction() as conn:
        body = to_json({"order": "O1001", "reason": "a\0b"})
        conn.execute(
            insert(s.command).values(kind="order.close", body=body, by="platform:admin", created_ms=day.now_ms)
        )
    day.work()
    (row,) = day.all(s.command, s.command.c.kind == "order.close")
    assert '"command.body"' in row.outcome


def test_bodies_of_the_trade_are_read_alike(day: Day, phone: Device) -> None:
    """The printable neighbours of U+0000 stay allowed: what people paste is kept as it is."""
    body = kinds.TaskAnswered(answer=kinds.Answer.UNSURE, note="a\x01\x7f\u200bb")
    phone.say(phone.route(TASK), body.about(f"task:{TASK}", day.task(TASK).stall_id))
    stored = day.store.stored(phone.route(TASK), phone.number, 1, 1)[0]
    assert decode_payload(stored[HEADER_BYTES:]).facts[0].body["note"] == "a\x01\x7f\u200bb"
