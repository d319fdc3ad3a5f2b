"""Read what folds are given: bodies as their kinds, and who said them.

Folds are total: what cannot be read counts for nothing here, and is named void by `trade.projections.judge_void`.
Pure.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from sync_core.facts import PlacedFact
from trade.kinds import BY_KIND, FactBody

State = dict[str, Any]
"""What a fold returns: JSON without floats."""


def read_body(fact: PlacedFact) -> FactBody | None:
    """Return the body as its kind, None when kind or shape is not of this vocabulary."""
    if "body" not in fact.memo:
        fact.memo["body"] = _read(fact)
    return fact.memo["body"]  # type: ignore[no-any-return]


def _read(fact: PlacedFact) -> FactBody | None:
    kind = BY_KIND.get(fact.kind)
    if kind is None:
        return None
    try:
        return kind.__pydantic_validator__.validate_python(fact.body)  # type: ignore[no-any-return]
    except ValidationError:
        return None


def dump(body: FactBody) -> State:
    """Return a body as JSON with all its fields."""
    return body.__pydantic_serializer__.to_python(body, mode="json")  # type: ignore[no-any-return]


def said(fact: PlacedFact) -> State:
    """Return who said a fact, with what and when: `{fact, device, person, at_ms}`; `at_ms` is a claim, shown only."""
    return {"fact": fact.id, "device": fact.device, "person": fact.person, "at_ms": fact.at_ms}
