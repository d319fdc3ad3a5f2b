"""The session: two ends, no I/O, and nothing acknowledged that is not committed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync_core import limits, session, wire
from sync_core.gate import Run, encode_state_vector, encode_update
from sync_core.hub import Submission, commit_batch
from sync_core.session import READ_ONLY, Received, Session, Side
from tests.pair import Pair
from tests.toy import DOCUMENT, MemoryLog, chain, enrolled, opened, put


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    replica = enrolled(tmp_path / "replica.db", 700, synchronous="OFF")
    log = MemoryLog([700, 701])
    commit_batch(
        log, [Submission(document=DOCUMENT, runs=(chain(0, DOCUMENT, [[opened(700, 701)]]),), sent_by=0, received_ms=0)]
    )
    yield Pair(replica=replica, log=log)
    replica.close()


def test_both_ends_meet_and_the_outbox_empties(pair: Pair) -> None:
    for n in range(30):
        pair.replica.act(DOCUMENT, [put(n)], person="ann", at_ms=n)
    pair.connect()
    pair.settle()
    assert pair.log.read_vector(DOCUMENT) == pair.replica.state_vector(DOCUMENT) == {0: 1, 700: 30}
    assert pair.replica.waiting().actions == 0


def test_a_long_backlog_travels_in_few_updates_within_the_limit(pair: Pair) -> None:
    for n in range(2_500):
        pair.replica.act(DOCUMENT, [put(n, f"jar{n % 50}")], person="ann", at_ms=n)
    pair.connect()
    pair.settle()
    assert pair.log.read_vector(DOCUMENT)[700] == 2_500
    assert pair.replica.waiting().actions == 0
    assert pair.device.updates_sent <= 5


def test_what_the_hub_got_from_us_does_not_come_back(pair: Pair) -> None:
    pair.connect()
    pair.settle()
    before = pair.hub.updates_sent
    pair.replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    pair.device.committed(DOCUMENT, pair.replica.state_vector(DOCUMENT))
    pair.settle()
    assert pair.log.read_vector(DOCUMENT)[700] == 1
    assert pair.hub.updates_sent == before


def test_a_device_has_heard_all_of_a_document_when_the_hub_has_answered_in_full(pair: Pair) -> None:
    pair.connect()
    pair.hub.receive(pair.device.take_frames()[0], now_ms=1)
    pair.hub.grant(DOCUMENT, scope=session.READ_WRITE, local={0: 1}, now_ms=1)
    for frame in pair.hub.take_frames():
        pair.device.receive(frame, now_ms=5)
    assert pair.device.heard(DOCUMENT) is None
    answer = wire.Update(address=DOCUMENT, update=encode_update([chain(0, DOCUMENT, [[opened(700)]])]), answer=False)
    pair.device.receive(wire.encode_frame(answer), now_ms=7)
    assert pair.device.heard(DOCUMENT) is None
    pair.device.receive(wire.encode_frame(replace(answer, answer=True)), now_ms=9)
    assert pair.device.heard(DOCUMENT) == (9, 9)
    pair.device.receive(wire.PING, now_ms=30)
    assert pair.device.heard(DOCUMENT) == (9, 30)
    assert pair.device.heard("jar/other") is None


def test_no_status_before_the_commit(pair: Pair) -> None:
    pair.replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    pair.connect()
    for frame in pair.device_frames():
        pair.to_hub(frame)
    for frame in pair.hub_frames():
        pair.to_device(frame)
    events = [event for frame in pair.device_frames() for event in pair.hub.receive(frame, now_ms=2)]
    assert any(isinstance(event, Received) for event in events)
    assert not any(isinstance(wire.decode_frame(f), wire.Status) for f in pair.hub.take_frames())


def test_a_malformed_update_is_answered_after_the_one_before_it_whose_commit_is_still_under_way(pair: Pair) -> None:
    pair.connect()
    pair.settle()
    good = wire.Update(address=DOCUMENT, update=encode_update([chain(700, DOCUMENT, [[put(1)]])]), answer=False)
    (received,) = pair.hub.receive(wire.encode_frame(good), now_ms=2)
    pair.hub.receive(wire.encode_frame(wire.Update(address=DOCUMENT, update=b"\x07", answer=False)), now_ms=2)
    assert pair.hub.take_frames() == []
    pair.at_hub(received)
    statuses = [f.applied for data in pair.hub.take_frames() if isinstance(f := wire.decode_frame(data), wire.Status)]
    assert statuses == [True, False]


def test_a_readonly_peer_is_answered_but_adds_nothing(pair: Pair) -> None:
    pair.scope = READ_ONLY
    pair.connect()
    pair.settle()
    assert pair.replica.state_vector(DOCUMENT) == {0: 1}
    pair.hub.take_frames()
    pair.to_hub(
        wire.encode_frame(
            wire.Update(address=DOCUMENT, update=encode_update([chain(700, DOCUMENT, [[put(1)]])]), answer=False)
        )
    )
    assert wire.decode_frame(pair.hub.take_frames()[0]) == wire.Status(address=DOCUMENT, applied=False)
    pair.to_hub(wire.encode_frame(wire.Update(address=DOCUMENT, update=b"\x00\x00", answer=True)))
    assert wire.decode_frame(pair.hub.take_frames()[0]) == wire.Status(address=DOCUMENT, applied=True)
    assert 700 not in pair.log.read_vector(DOCUMENT)


def test_a_refused_envelope_is_told_and_not_sent_again(pair: Pair) -> None:
    pair.connect()
    pair.settle()
    bad = chain(700, "jar/cellar", [[put(1)]])
    pair.to_hub(wire.encode_frame(wire.Update(address=DOCUMENT, update=encode_update([bad]), answer=False)))
    kinds = [type(wire.decode_frame(frame)).__name__ for frame in pair.hub.take_frames()]
    assert kinds == ["Stateless", "Status", "Step1"]
    assert [refused.code for refused in pair.log.refused] == ["gate.chain"]


@pytest.mark.parametrize("unknown", [650, 750])
def test_i14_what_a_hub_refuses_of_others_keeps_nobody_from_delivering_his_own(pair: Pair, unknown: int) -> None:
    """The hub was restored: it does not know a device that was enrolled after its backup, and whose words others hold."""
    pair.replica.admit(DOCUMENT, [chain(unknown, DOCUMENT, [[put(n)] for n in range(2)])])
    pair.replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    pair.connect()
    pair.settle()
    assert {(refused.device, refused.code) for refused in pair.log.refused} == {(unknown, "gate.writer")}
    pair.replica.act(DOCUMENT, [put(2)], person="ann", at_ms=2)
    pair.device.committed(DOCUMENT, pair.replica.state_vector(DOCUMENT))
    pair.settle()
    assert pair.log.read_vector(DOCUMENT) == {0: 1, 700: 2}
    assert pair.replica.waiting().actions == 0


def test_what_left_while_a_restored_hub_still_lacked_it_is_not_wanted_for_ever(pair: Pair) -> None:
    """The link asks again until nothing is wanted: what the log has no more must not keep it, and the whole client, busy."""
    pair.replica.admit(DOCUMENT, [chain(701, DOCUMENT, [[put(1)]])])
    pair.connect()
    while not pair.device.wanted():
        for frame in pair.device.take_frames():
            pair.to_hub(frame)
        for frame in pair.hub.take_frames():
            pair.to_device(frame)
    assert pair.replica.forget(DOCUMENT)
    for document, have in pair.device.wanted():
        pair.device.offer(document, pair.replica.missing(document, have))
    assert pair.device.wanted() == []


@pytest.mark.parametrize("leaves", [False, True])
def test_rel_i3_the_hub_has_a_document_when_it_was_given_others_words_too(pair: Pair, leaves: bool) -> None:
    """A restored hub lacks what another device and the lost hub had said: whoever holds it gives it back before it may forget it."""
    pair.replica.admit(DOCUMENT, [chain(0, DOCUMENT, [[opened(700, 701)]]), chain(701, DOCUMENT, [[put(1)]])])
    pair.connect()
    steps = 0
    while not pair.device.wanted():
        assert not pair.device.hub_has(DOCUMENT)
        for frame in pair.device.take_frames():
            pair.to_hub(frame)
        for frame in pair.hub.take_frames():
            pair.to_device(frame)
        steps += 1
    assert steps
    given = pair.device_frames()
    assert not pair.device.hub_has(DOCUMENT)
    for frame in given:
        pair.to_hub(frame)
    pair.settle()
    assert pair.device.hub_has(DOCUMENT)
    assert pair.log.read_vector(DOCUMENT) == {0: 1, 701: 1}
    if leaves:
        pair.device.leave(DOCUMENT)
        assert pair.device.hub_has(DOCUMENT)
    pair.device.open(DOCUMENT, pair.replica.state_vector(DOCUMENT))
    assert not pair.device.hub_has(DOCUMENT)


def test_what_the_hub_did_not_take_it_does_not_have(pair: Pair) -> None:
    pair.connect()
    pair.settle()
    pair.replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    pair.device.committed(DOCUMENT, pair.replica.state_vector(DOCUMENT))
    pair.device_frames()
    pair.device.receive(wire.encode_frame(wire.Status(address=DOCUMENT, applied=False)), now_ms=1)
    assert not pair.device.hub_has(DOCUMENT)
    step1 = wire.Step1(address=DOCUMENT, vector=encode_state_vector(pair.log.read_vector(DOCUMENT)))
    pair.device.receive(wire.encode_frame(step1), now_ms=1)
    for frame in pair.device_frames():
        pair.to_hub(frame)
    pair.settle()
    assert pair.device.hub_has(DOCUMENT)
    assert pair.log.read_vector(DOCUMENT)[700] == 1


def test_a_document_that_the_hub_only_shows_waits_for_nothing(pair: Pair) -> None:
    pair.scope = READ_ONLY
    pair.replica.admit(DOCUMENT, [chain(701, DOCUMENT, [[put(1)]])])
    pair.connect()
    pair.settle()
    assert pair.device.hub_has(DOCUMENT)


def test_a_denial_counts_when_it_has_stood_for_a_while(pair: Pair) -> None:
    """A restored hub does not know the route yet that it will have read of in a moment: who forgot it now would take it along."""
    denied = wire.encode_frame(wire.Denied(address="jar/secret", reason="permission-denied"))
    pair.connect()
    pair.device.open("jar/secret", {701: 1})
    pair.device.receive(denied, now_ms=1_000)
    assert not pair.device.hub_has("jar/secret")
    pair.device.receive(wire.PING, now_ms=1_000 + limits.DENIAL_STANDS_MS)
    assert not pair.device.hub_has("jar/secret")
    pair.device.receive(wire.PING, now_ms=1_001 + limits.DENIAL_STANDS_MS)
    assert pair.device.hub_has("jar/secret")
    pair.device.open("jar/secret", {701: 1})
    assert not pair.device.hub_has("jar/secret")


def test_a_fork_keeps_the_first_and_quarantines_the_second(pair: Pair) -> None:
    pair.connect()
    pair.settle()
    for n in (1, 2):
        pair.to_hub(
            wire.encode_frame(
                wire.Update(address=DOCUMENT, update=encode_update([chain(700, DOCUMENT, [[put(n)]])]), answer=False)
            )
        )
    assert [refused.code for refused in pair.log.refused] == ["gate.fork"]
    assert pair.log.read_vector(DOCUMENT)[700] == 1


@pytest.mark.parametrize("seed", range(40))
def test_cut_lost_repeated_frames_lose_no_fact_and_acknowledge_none_too_early(pair: Pair, seed: int) -> None:
    rng = random.Random(seed)
    said = 0
    for _ in range(12):
        pair.connect()
        for _ in range(rng.randrange(12)):
            if rng.random() < 0.5:
                pair.replica.act(DOCUMENT, [put(said)], person="ann", at_ms=said)
                pair.device.committed(DOCUMENT, pair.replica.state_vector(DOCUMENT))
                said += 1
            for frame in pair.device_frames():
                if rng.random() < 0.2:
                    break
                pair.to_hub(frame)
                if rng.random() < 0.1 and isinstance(wire.decode_frame(frame), wire.Update):
                    pair.to_hub(frame)
            for frame in pair.hub_frames():
                if rng.random() < 0.2:
                    break
                pair.to_device(frame)
            acked = said - pair.replica.waiting().actions
            assert acked <= pair.log.read_vector(DOCUMENT).get(700, 0)
    pair.connect()
    pair.settle()
    assert pair.log.read_vector(DOCUMENT).get(700, 0) == said
    assert pair.replica.waiting().actions == 0


def test_a_frame_before_auth_ends_the_connection(pair: Pair) -> None:
    hub = Session(Side.HUB, now_ms=0)
    events = hub.receive(wire.encode_frame(wire.Step1(address=DOCUMENT, vector=b"\x00")), now_ms=0)
    assert [(type(e), e.fatal) for e in events if isinstance(e, session.Violation)] == [(session.Violation, True)]


def test_silence_ends_a_half_open_connection() -> None:
    hub = Session(Side.HUB, now_ms=0)
    assert hub.tick(limits.PING_INTERVAL_MS)
    assert hub.take_frames() == [wire.PING]
    assert not hub.tick(limits.SILENCE_MS_MAX)


def test_a_denied_document_does_not_end_the_connection() -> None:
    """A device sends its vector behind its question: when the answer is no, that frame is no violation."""
    device, hub = Session(Side.DEVICE, now_ms=0), Session(Side.HUB, now_ms=0)
    device.open("secret", {})
    asked, vector = device.take_frames()
    assert [type(event) for event in hub.receive(asked, now_ms=0)] == [session.AuthAsked]
    hub.deny("secret", reason="permission-denied")
    assert hub.receive(vector, now_ms=0) == []
    never_asked = wire.encode_frame(wire.Step1(address="other", vector=b"\x00"))
    assert [type(event) for event in hub.receive(never_asked, now_ms=0)] == [session.Violation]


def test_answers_to_a_backlog_are_told_together_and_the_last_one_at_once() -> None:
    talk = Session(Side.DEVICE, now_ms=0)
    talk.open(DOCUMENT, {700: 9})
    talk.receive(wire.encode_frame(wire.Granted(address=DOCUMENT, scope="read-write")), now_ms=0)
    talk.receive(wire.encode_frame(wire.Step1(address=DOCUMENT, vector=b"\x00")), now_ms=0)
    run = chain(700, DOCUMENT, [[put(n)] for n in range(9)])
    for seq in range(1, 8):
        talk.offer(DOCUMENT, [Run(device=700, first_seq=seq, stored=(run.stored[seq - 1],))])
    assert talk.under_way()
    applied = wire.encode_frame(wire.Status(address=DOCUMENT, applied=True))
    told = [talk.receive(applied, now_ms=0) for _ in range(7)]
    said = {
        n: event.vector for n, events in enumerate(told) for event in events if isinstance(event, session.Acknowledged)
    }
    assert said == {3: {700: 4}, 6: {700: 7}}
    assert not talk.under_way()
