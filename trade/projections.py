"""The trade as the engine sees it: which facts count, how they rank, and how the facts of a subject become its state.

`MARKET_DAY` is given to replicas and to the server; both fold with it, so both show the same rows.
Pure and total: no fact that can be decoded makes anything here raise. Design: facts, envelopes, documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sync_core.facts import PlacedFact, subject_type
from trade import kinds
from trade.parcels import fold_order, fold_parcel
from trade.pieces import fold_piece
from trade.reading import State, read_body
from trade.returns import fold_device, fold_document, fold_return, fold_stall, fold_trip
from trade.tasks import fold_task

VOID_CODES: Final = ("void.kind", "void.role", "void.subjects", "void.body")
NEWER: Final = "schema.newer"


class MarketDay:
    """The `Trade` port of `sync_core.fold` for a stall-picking and drop-shipping market."""

    schema: int = kinds.SCHEMA

    def judge_void(self, fact: PlacedFact) -> str | None:
        """Return why a fact counts for nothing, None when it counts, or `schema.newer` when it waits for an upgrade.

        `void.kind` unknown kind; `void.role` this role, or a stranger, may not say it; `void.subjects` it does not name what it
        must; `void.body` its body has not the kind's shape.
        """
        kind = kinds.BY_KIND.get(fact.kind)
        newer = fact.schema > kinds.SCHEMA
        if kind is None:
            return NEWER if newer else "void.kind"
        if fact.role not in kind.SAID_BY:
            return "void.role"
        if tuple([subject_type(subject) for subject in fact.subjects[: len(kind.SUBJECTS)]]) != kind.SUBJECTS:
            return NEWER if newer else "void.subjects"
        if read_body(fact) is None:
            return NEWER if newer else "void.body"
        return None

    def rank(self, fact: PlacedFact) -> int:
        """Return how far along the custody path a fact lies."""
        kind = kinds.BY_KIND.get(fact.kind)
        return 0 if kind is None else int(kind.STEP)

    def fold(self, subject: str, facts: Sequence[PlacedFact]) -> State:
        """Return the state of a subject from its facts in folded order; empty for a type this trade does not know."""
        match subject_type(subject):
            case "task":
                return fold_task(subject, facts)
            case "piece":
                return fold_piece(subject, facts)
            case "order":
                return fold_order(subject, facts)
            case "parcel":
                return fold_parcel(subject, facts)
            case "return":
                return fold_return(subject, facts)
            case "trip":
                return fold_trip(subject, facts)
            case "stall":
                return fold_stall(facts)
            case "device":
                return fold_device(facts)
            case "document":
                return fold_document(facts)
            case _:
                return {}


MARKET_DAY: Final = MarketDay()
