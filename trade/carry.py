"""The carry table: which other documents need a kind of fact.

A subject lives in several documents, each folded by itself; the server is the only bridge and writes a fact whole, with its id,
author and time, into every other open document of these kinds that speaks of one of its subjects.
Pure. Design: facts, envelopes, documents.
"""

from __future__ import annotations

from typing import Final, Literal

from trade import kinds

DocumentKind = Literal["route", "warehouse", "trip", "market"]

_NOWHERE: Final[frozenset[DocumentKind]] = frozenset()
_ROUTE: Final[frozenset[DocumentKind]] = frozenset({"route"})
_WAREHOUSE: Final[frozenset[DocumentKind]] = frozenset({"warehouse"})
_FLOOR: Final[frozenset[DocumentKind]] = frozenset({"route", "warehouse"})
_RETURNS: Final[frozenset[DocumentKind]] = frozenset({"trip", "warehouse"})

_TARGETS: Final[dict[type[kinds.FactBody], frozenset[DocumentKind]]] = {
    # The server's own: an assigned task must be known at the wall before any phone has synced (D16).
    kinds.TaskAssigned: _WAREHOUSE,
    kinds.TaskRecalled: _WAREHOUSE,
    kinds.AskAnswered: _WAREHOUSE,
    kinds.PurchaseVerdict: _FLOOR,
    kinds.AnswerVerdict: _FLOOR,
    kinds.StockVerdict: _RETURNS,
    kinds.RefundVerdict: _RETURNS,
    # The picker's: the wall sorts by them; another route of the same task shows a colleague's purchase (E33).
    kinds.PieceBought: _FLOOR,
    kinds.PieceAdopted: _FLOOR,
    kinds.PieceUndone: _FLOOR,
    kinds.PriceCorrected: _FLOOR,
    kinds.LabelReprinted: _WAREHOUSE,
    kinds.TaskAnswered: frozenset({"warehouse", "market"}),
    kinds.AnswerWithdrawn: _WAREHOUSE,
    kinds.PriceAsked: _WAREHOUSE,
    kinds.TaskBounced: _WAREHOUSE,
    # The warehouse's: the picker sees his pieces arrive, the runner what is in his bag.
    kinds.ScannedIn: _ROUTE,
    kinds.PiecesSwapped: _ROUTE,
    kinds.PieceBagged: frozenset({"trip"}),
    kinds.PieceBroughtBack: frozenset({"trip"}),
    # The runner's.
    kinds.PieceRefunded: _WAREHOUSE,
    kinds.PieceRefused: _WAREHOUSE,
}
_BY_KIND: Final = {kind.KIND: targets for kind, targets in _TARGETS.items()}


def carry_targets(kind: str) -> frozenset[DocumentKind]:
    """Return the kinds of document, other than the one it was said in, that need a fact of this kind."""
    return _BY_KIND.get(kind, _NOWHERE)


def document_kind(document: str) -> DocumentKind | Literal["device"] | None:
    """`route/2026-05-01-101` -> route, `route/2026-05-01-trip-2` -> trip; None for a name that is none of ours."""
    head, _, rest = document.partition("/")
    match head:
        case "route" if rest:
            return "trip" if "-trip-" in rest else "route"
        case "warehouse" if rest:
            return "warehouse"
        case "market" if rest:
            return "market"
        case "device" if rest:
            return "device"
        case _:
            return None
