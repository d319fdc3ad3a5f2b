"""The server's verdicts: what became of an action, which of two won, and the money of it."""

from __future__ import annotations

from typing import Literal

from trade.kinds.common import SERVER, AmountFen, Day, FactBody, PieceCode, Step, Word


class PurchaseVerdict(FactBody):
    """What becomes of one purchase, and of the money; stands whatever comes later (D9, D10, D11, E7)."""

    KIND = "verdict.purchase"
    SAID_BY = SERVER
    SUBJECTS = ("task", "piece")
    STEP = Step.VERDICT

    fact: str
    """The id of the `piece.bought` it speaks about."""
    outcome: Literal["keeps", "second", "closed_unseen", "closed_seen", "over_cap", "undone"]
    owner: Word
    """`platform` or the merchant's id: who owns the piece now."""
    charged_fen: AmountFen
    excess_fen: AmountFen = 0
    keeper: PieceCode | None = None


class AnswerVerdict(FactBody):
    """What becomes of a stock answer, a bounce or a question (E4: bought wins)."""

    KIND = "verdict.answer"
    SAID_BY = SERVER
    SUBJECTS = ("task",)
    STEP = Step.VERDICT

    fact: str
    outcome: Literal["accepted", "overruled", "too_late"]
    next: Literal["none", "merchant_asked", "again_on_day", "stopped"] = "none"
    on_day: Day | None = None


class StockVerdict(FactBody):
    """Who keeps a return piece that was bagged and sold at once, and what the loser does with his hands (D14, E21)."""

    KIND = "verdict.stock"
    SAID_BY = SERVER
    SUBJECTS = ("piece",)
    STEP = Step.VERDICT

    fact: str
    """The id of the fact that lost."""
    winner: Literal["bag", "parcel"]
    todo: Literal["pull_from_bag", "pick_again", "none"]


class RefundVerdict(FactBody):
    """What the owner of a returned piece was credited (D12)."""

    KIND = "verdict.refund"
    SAID_BY = SERVER
    SUBJECTS = ("piece",)
    STEP = Step.VERDICT

    fact: str
    outcome: Literal["settled", "lower_waits", "refused"]
    credited_fen: AmountFen
