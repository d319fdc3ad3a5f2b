"""A toy trade and a small client folder, for tests of what looks at folders from outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sync_core import gate
from sync_core.facts import DOCUMENT_OPENED, Envelope, Fact, PlacedFact
from sync_core.gate import Run
from sync_core.identity import Ed25519Signer
from sync_core.payload import encode_payload
from sync_core.replica import Replica

DOCUMENT = "route/2026-11-20-101"
SERVER_KEY = Ed25519Signer(b"s" * 32)
DEVICE_KEY = Ed25519Signer(b"d" * 32)


class ToyTrade:
    """Counts notes and remembers the last."""

    schema = 1

    def judge_void(self, fact: PlacedFact) -> str | None:
        """Everybody with a role may say anything."""
        return None if fact.role else "void.role"

    def rank(self, fact: PlacedFact) -> int:
        """All kinds lie equally far."""
        return 0

    def fold(self, subject: str, facts: Sequence[PlacedFact]) -> dict[str, Any]:
        """Return how many facts there are, and what the last one says."""
        return {"subject": subject, "count": len(facts), "last": facts[-1].body.get("text") if facts else None}


def open_client(folder: Path) -> Replica:
    """Return device 101's replica in `folder`, enrolled, with the server's opening of its route."""
    replica = Replica.open(folder / "replica.db", ToyTrade())
    if replica.number is None:
        replica.enrol(number=101, server_key=SERVER_KEY.public_key, certificate={"number": 101})
        opened = Envelope(
            device=0, seq=1, person="server", at_ms=1_000, schema=1, basis={},
            facts=(Fact(kind=DOCUMENT_OPENED, subjects=("document",), body={"writers": {"101": "picker"}}),),
        )  # fmt: skip
        stored = gate.seal(encode_payload(opened), gate.empty_head(DOCUMENT).digest, SERVER_KEY.sign)
        replica.admit(DOCUMENT, [Run(device=0, first_seq=1, stored=(stored,))])
    replica.use_key(DEVICE_KEY)
    return replica


def say(replica: Replica, text: str, *, subject: str = "task:T1-1", at_ms: int = 2_000) -> None:
    """Say one note."""
    replica.act(DOCUMENT, [Fact(kind="note", subjects=(subject,), body={"text": text})], person="li", at_ms=at_ms)
