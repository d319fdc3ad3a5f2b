"""Faults that other sync engines shipped (docs/pitfalls.md), each held against the engine with a toy trade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_core import gate, limits, session, wire
from sync_core.errors import MalformedError
from sync_core.facts import Envelope, Fact
from sync_core.gate import Head, Run
from sync_core.hub import Connection, Hub, Submission, commit_batch
from sync_core.payload import decode_payload, encode_payload
from sync_core.session import READ_WRITE, Received, Session, Side
from tests.pair import Pair
from tests.toy import DOCUMENT, MemoryLog, chain, enrolled, opened, put

CELLAR = "jar/cellar"


def commit(log: MemoryLog, document: str, *runs: Run, sent_by: int = 0) -> None:
    commit_batch(log, [Submission(document=document, runs=runs, sent_by=sent_by, received_ms=0)])


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog([700, 701])
    for document in (DOCUMENT, CELLAR):
        commit(log, document, chain(0, document, [[opened(700, 701)]]))
    return log


@pytest.fixture
def pair(tmp_path: Path, log: MemoryLog) -> Iterator[Pair]:
    replica = enrolled(tmp_path / "replica.db", 700, synchronous="OFF")
    pair = Pair(replica=replica, log=log, documents=(CELLAR, DOCUMENT))
    pair.connect()
    pair.settle()
    yield pair
    replica.close()


def say(pair: Pair, n: int, document: str = DOCUMENT) -> None:
    pair.replica.act(document, [put(n)], person="ann", at_ms=n)
    pair.device.committed(document, pair.replica.state_vector(document))


def update(pair: Pair, *runs: Run, document: str = DOCUMENT) -> list[wire.Frame]:
    """Bring runs to the hub as an update of the device; return what the hub says."""
    pair.to_hub(wire.encode_frame(wire.Update(address=document, update=gate.encode_update(runs), answer=False)))
    return [wire.decode_frame(frame) for frame in pair.hub.take_frames()]


def test_p4_one_refused_envelope_stops_its_document_and_no_other(pair: Pair) -> None:
    # Another copy of this device was here before: its first envelope stands in the log.
    commit(pair.log, CELLAR, chain(700, CELLAR, [[put(99)]]))
    for n in range(5):
        say(pair, n, CELLAR)
        say(pair, n, DOCUMENT)
    pair.settle()
    assert pair.log.read_vector(DOCUMENT)[700] == 5
    assert [refused.code for refused in pair.log.refused] == ["gate.fork"]


def test_p5_what_was_refused_never_counts_as_acknowledged(pair: Pair) -> None:
    commit(pair.log, DOCUMENT, chain(700, DOCUMENT, [[put(99)]]))
    for n in range(3):
        say(pair, n)
    pair.settle()
    # The hub's vector covers the refused one's number, and still it stays in the outbox: the device must be renumbered.
    assert pair.replica.conn.execute("SELECT count(*) FROM refusal").fetchone()[0] > 0
    assert pair.replica.waiting().actions > 0


def test_p6_a_part_that_came_before_what_it_rests_on_is_asked_for_again_whole(pair: Pair) -> None:
    first = chain(700, DOCUMENT, [[put(1)]])
    second = chain(700, DOCUMENT, [[put(2)]], after=Head(seq=1, digest=gate.digest_of(first.stored[0])))
    said = update(pair, second)
    assert [type(frame).__name__ for frame in said] == ["Stateless", "Status", "Step1"]
    assert pair.log.refused == []
    assert isinstance(said[-1], wire.Step1)
    assert 700 not in gate.parse_state_vector(said[-1].vector)
    update(pair, Run(device=700, first_seq=1, stored=first.stored + second.stored))
    assert pair.log.read_vector(DOCUMENT)[700] == 2


def test_p7_a_retry_after_an_unknown_outcome_is_applied_once_and_answered_the_same(pair: Pair) -> None:
    run = chain(700, DOCUMENT, [[put(1)], [put(2)]])
    answers = [[type(frame).__name__ for frame in update(pair, run)] for _ in range(3)]
    assert answers == [["Status"]] * 3
    assert pair.log.read_vector(DOCUMENT)[700] == 2


def test_p9_the_count_of_what_waits_is_read_from_the_log_after_any_number_of_reconnects(pair: Pair) -> None:
    for n in range(20):
        say(pair, n)
        for frame in pair.device_frames():
            pair.to_hub(frame)
        if n % 3:
            pair.connect()
    waiting = pair.replica.waiting().actions
    pair.connect()
    pair.settle()
    assert waiting > 0
    assert pair.replica.waiting().actions == 0


def test_p10_two_devices_that_come_back_at_once_need_nothing_of_each_other(tmp_path: Path, log: MemoryLog) -> None:
    pairs = [
        Pair(replica=enrolled(tmp_path / f"{n}" / "replica.db", n, synchronous="OFF"), log=log) for n in (700, 701)
    ]
    for pair in pairs:
        pair.connect()
        pair.settle()
        for n in range(10):
            say(pair, n)
    for pair in pairs:
        pair.connect()
    for _ in range(20):
        frames = [(pair, pair.device_frames(), pair.hub_frames()) for pair in pairs]
        for pair, up, down in frames:
            for frame in up:
                pair.to_hub(frame)
            for frame in down:
                pair.to_device(frame)
        for pair in pairs:
            pair.hub.committed(DOCUMENT, log.read_vector(DOCUMENT))
    assert {pair.replica.canonical_hash(DOCUMENT) for pair in pairs} == {pairs[0].replica.canonical_hash(DOCUMENT)}
    assert [pair.replica.state_vector(DOCUMENT) for pair in pairs] == [{0: 1, 700: 10, 701: 10}] * 2
    for pair in pairs:
        pair.replica.close()


def test_p12_what_is_committed_between_reading_the_vector_and_granting_is_not_missed(log: MemoryLog) -> None:
    hub = Hub(log)
    talk = Session(Side.HUB, now_ms=0)
    woken: list[int] = []
    connection = Connection(session=talk, device=700, wake=lambda: woken.append(1))
    talk.receive(wire.encode_frame(wire.Auth(address=DOCUMENT, token="")), now_ms=0)
    talk.receive(wire.encode_frame(wire.Step1(address=DOCUMENT, vector=b"\x00")), now_ms=0)
    hub.subscribe(connection, DOCUMENT)
    read = log.read_vector(DOCUMENT)
    # The vector was read on another thread; before the event loop hears of it, more is committed than one update carries.
    commit(log, DOCUMENT, chain(701, DOCUMENT, [[put(n)] for n in range(1_500)]))
    hub.committed(DOCUMENT, log.read_vector(DOCUMENT))
    talk.grant(DOCUMENT, scope=READ_WRITE, local=read, now_ms=0)
    assert received(talk, log, 701) == 1_500


def received(talk: Session, log: MemoryLog, writer: int) -> int:
    """Let a hub's session send all it wants; return how many envelopes of a writer went out."""
    count = 0
    while ready := talk.wanted():
        for document, have in ready:
            talk.offer(document, log.read_missing(document, have, bytes_max=limits.UPDATE_BYTES_MAX))
        for data in talk.take_frames():
            match wire.decode_frame(data):
                case wire.Update(update=update):
                    count += sum(len(run.stored) for run in gate.parse_update(update) if run.device == writer)
                case _:
                    pass
    return count


def test_p13_nothing_can_overwrite_an_entry_so_none_can_vanish(pair: Pair) -> None:
    update(pair, chain(700, DOCUMENT, [[put(1)]]))
    before = pair.log.rows[DOCUMENT][700][0].stored
    other = chain(700, DOCUMENT, [[put(2)]])
    forged = gate.encode_update([other]).replace(b"700.1", b"0.1")
    said = [frame for frame in _raw(pair, forged) if isinstance(frame, wire.Status)]
    assert [frame.applied for frame in said] == [False]
    assert pair.log.rows[DOCUMENT][700][0].stored == before
    assert pair.log.read_vector(DOCUMENT) == {0: 1, 700: 1}


def _raw(pair: Pair, data: bytes) -> list[wire.Frame]:
    pair.to_hub(wire.encode_frame(wire.Update(address=DOCUMENT, update=data, answer=False)))
    return [wire.decode_frame(frame) for frame in pair.hub.take_frames()]


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, -(2**53), 2**70])
def test_p21_a_float_or_a_number_that_javascript_rounds_is_refused_where_it_is_made(value: object) -> None:
    with pytest.raises((MalformedError, ValueError)):
        encode_payload(_said(Fact(kind="jar.put", subjects=("jar:blue",), body={"n": value})))


def test_p21_the_largest_whole_number_travels_exactly(pair: Pair) -> None:
    largest = limits.INTEGER_MAX
    pair.replica.act(DOCUMENT, [put(largest)], person="ann", at_ms=1)
    pair.device.committed(DOCUMENT, pair.replica.state_vector(DOCUMENT))
    pair.settle()
    (row,) = pair.log.rows[DOCUMENT][700]
    assert decode_payload(row.stored[gate.HEADER_BYTES :]).facts[0].body["n"] == largest


def _said(fact: Fact) -> Envelope:
    return Envelope(device=700, seq=1, person="ann", at_ms=1, schema=1, basis={}, facts=(fact,))


def test_p26_a_device_that_has_everything_fetches_nothing_after_a_restart(pair: Pair) -> None:
    for n in range(50):
        say(pair, n)
    pair.settle()
    for _ in range(3):
        pair.connect()
        up: list[bytes] = []
        down: list[bytes] = []
        for _ in range(20):
            more_up, more_down = pair.device_frames(), pair.hub_frames()
            if not more_up and not more_down:
                break
            up += more_up
            down += more_down
            for frame in more_up:
                pair.to_hub(frame)
            for frame in more_down:
                pair.to_device(frame)
        frames = [wire.decode_frame(data) for data in up + down]
        assert {frame.update for frame in frames if isinstance(frame, wire.Update)} == {gate.EMPTY_UPDATE}
        assert len(up) + len(down) <= 2 * 7


def test_p28_a_reader_that_does_not_read_pins_a_cursor_and_gets_everything_in_the_end(log: MemoryLog) -> None:
    hub = Hub(log)
    talk = Session(Side.HUB, now_ms=0)
    connection = Connection(session=talk, device=701, wake=lambda: None)
    talk.receive(wire.encode_frame(wire.Auth(address=DOCUMENT, token="")), now_ms=0)
    hub.subscribe(connection, DOCUMENT)
    talk.grant(DOCUMENT, scope=READ_WRITE, local=log.read_vector(DOCUMENT), now_ms=0)
    talk.receive(wire.encode_frame(wire.Step1(address=DOCUMENT, vector=b"\x00")), now_ms=0)
    talk.take_frames()
    run = chain(700, DOCUMENT, [[put(n)] for n in range(3_000)])
    for seq, stored in enumerate(run.stored, 1):
        commit(log, DOCUMENT, Run(device=700, first_seq=seq, stored=(stored,)), sent_by=700)
        hub.committed(DOCUMENT, {700: seq})
    assert talk.take_frames() == []
    assert received(talk, log, 700) == 3_000


def test_p30_a_document_nobody_can_read_stops_no_other(pair: Pair) -> None:
    pair.to_hub(wire.encode_frame(wire.Update(address=CELLAR, update=b"\x01\x01" + b"\xff" * 30, answer=False)))
    say(pair, 1)
    pair.settle()
    assert pair.log.read_vector(DOCUMENT)[700] == 1
    assert isinstance(pair.hub.receive(wire.encode_frame(wire.Step1(address=CELLAR, vector=b"\x00")), now_ms=3), list)


def test_p8_no_frame_of_a_hub_that_has_not_committed_says_applied(pair: Pair) -> None:
    say(pair, 1)
    for frame in pair.device_frames():
        for event in pair.hub.receive(frame, now_ms=2):
            assert isinstance(event, Received | session.Acknowledged)
    statuses = [f for data in pair.hub_frames() if isinstance(f := wire.decode_frame(data), wire.Status)]
    assert statuses == []
    assert pair.replica.waiting().actions == 1
