"""The fuzzing finds what it is there for: each plant here is a fault a gate or session could have, and a run must name the frame."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.engine import chain
from bench.sample import scan
from proof import mutation
from proof.fuzz_core import run_frames
from proof.traffic import Corpus
from sync_core import gate, wire
from sync_core.errors import MalformedError
from sync_core.gate import Run
from sync_core.session import Session

DOCUMENT = "warehouse/w0/1"
FRAMES = 3_000


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """A short session: opening, a backlog, one more, leaving."""
    run = chain(104, DOCUMENT, [[scan(104, n)] for n in range(1, 5)])
    updates = [
        wire.Update(address=DOCUMENT, update=gate.encode_update([run]), answer=True),
        wire.Update(
            address=DOCUMENT, answer=False,
            update=gate.encode_update([Run(device=104, first_seq=4, stored=run.stored[3:])]),
        ),
    ]  # fmt: skip
    to_hub: list[wire.Frame] = [
        wire.Auth(address=DOCUMENT, token="t"),
        wire.Step1(address=DOCUMENT, vector=gate.encode_state_vector({104: 4, 0: 1})),
        *updates,
        wire.Stateless(address=DOCUMENT, message={"report": {"waiting": 3}}),
        wire.Close(address=DOCUMENT, reason=""),
    ]
    to_device: list[wire.Frame] = [
        wire.Granted(address=DOCUMENT, scope="read-write"),
        wire.Status(address=DOCUMENT, applied=True),
        *updates,
    ]
    return Corpus(
        document=DOCUMENT,
        to_hub=[wire.encode_frame(frame) for frame in to_hub],
        to_device=[wire.encode_frame(frame) for frame in to_device],
    )


def test_nothing_is_found_in_the_engine_as_it_is(tmp_path: Path, corpus: Corpus) -> None:
    tally = run_frames(tmp_path, corpus, seed=1, first=0, last=FRAMES - 1)
    assert tally.faults == []
    assert tally.outcomes["applied and encoded again"] > 50
    assert tally.outcomes["gate.shape"] > 50


def test_a_frame_is_the_same_again_by_its_seed_and_index(corpus: Corpus, tmp_path: Path) -> None:
    corpus.write(tmp_path / "corpus.json")
    again = Corpus.read(tmp_path / "corpus.json")
    assert [mutation.frame(corpus, 7, n) for n in range(300)] == [mutation.frame(again, 7, n) for n in range(300)]
    assert mutation.frame(corpus, 7, 1) != mutation.frame(corpus, 8, 1)


def test_a_decoder_that_takes_what_it_should_not_is_found(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(data: bytes) -> dict[int, int]:
        return dict.fromkeys(data[: data[0]], 1)

    monkeypatch.setattr(gate, "parse_state_vector", careless)
    tally = run_frames(tmp_path, corpus, seed=1, first=0, last=FRAMES - 1)
    assert tally.faults
    assert tally.faults[0].startswith("seed 1 frame ")


def test_a_gate_that_lets_a_wrong_key_pass_is_found(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library then holds another document than the gate said it would."""
    honest = gate.parse_update

    def lax(update: bytes) -> tuple[Run, ...]:
        try:
            return honest(update)
        except MalformedError as error:
            if error.code != "gate.deletes":
                raise
            return (Run(device=7, first_seq=1, stored=(b"x" * 97,)), Run(device=7, first_seq=1, stored=(b"y" * 97,)))

    monkeypatch.setattr(gate, "parse_update", lax)
    tally = run_frames(tmp_path, corpus, seed=1, first=0, last=FRAMES - 1)
    assert any("other bytes back" in fault or "state vector" in fault for fault in tally.faults)


def test_a_session_that_fails_is_found(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Session, *_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(Session, "_receive_status", fails)
    tally = run_frames(tmp_path, corpus, seed=1, first=0, last=FRAMES - 1)
    assert "KeyError" in tally.faults[0]
