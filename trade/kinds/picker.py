"""What a picker says at the stall: bought, answered, asked, undone."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trade.kinds.common import PICKER, WAREHOUSE, Answer, Day, FactBody, Means, PriceFen, Step, Text


class PieceBought(FactBody):
    """A garment was bought and its label minted; the bag exists whatever anybody decides."""

    KIND = "piece.bought"
    SAID_BY = PICKER
    SUBJECTS = ("task", "piece", "stall")
    STEP = Step.BOUGHT

    price_fen: PriceFen
    means: Annotated[Means, Field(strict=False)]
    late: bool = False
    """The phone had warned that the deadline was past (D13)."""
    seen_recall: bool = False
    """The recall was on the phone before the buy page was shown (D11)."""
    override: bool = False
    """Bought above the cap out of the device's allowance (D7)."""


class PieceUndone(FactBody):
    """The tap was a mistake: there is no such garment."""

    KIND = "piece.undone"
    SAID_BY = PICKER
    SUBJECTS = ("task", "piece")
    STEP = Step.CORRECTED

    fact: str


class PriceCorrected(FactBody):
    """The price of a bought piece was keyed wrong; never an edit in place (E8)."""

    KIND = "piece.price_corrected"
    SAID_BY = PICKER
    SUBJECTS = ("task", "piece")
    STEP = Step.CORRECTED

    price_fen: PriceFen


class LabelReprinted(FactBody):
    """Another sticker of the same piece (E9)."""

    KIND = "piece.label_reprinted"
    SAID_BY = PICKER | WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.OBSERVED

    copy_no: int = Field(ge=2)


class TaskAnswered(FactBody):
    """The stall does not sell it now (D6)."""

    KIND = "task.answered"
    SAID_BY = PICKER
    SUBJECTS = ("task", "stall")
    STEP = Step.ANSWERED

    answer: Annotated[Answer, Field(strict=False)]
    on_day: Day | None = None
    note: Text = ""


class AnswerWithdrawn(FactBody):
    """The answer was a slip; the task is open again."""

    KIND = "task.answer_withdrawn"
    SAID_BY = PICKER
    SUBJECTS = ("task",)
    STEP = Step.ANSWERED

    fact: str


class PriceAsked(FactBody):
    """The stall wants more than the cap; the merchant is asked (D7)."""

    KIND = "task.asked"
    SAID_BY = PICKER
    SUBJECTS = ("task",)
    STEP = Step.ANSWERED

    price_fen: PriceFen


class TaskBounced(FactBody):
    """The stall wants more than the cap; the order goes back to the merchant (R80)."""

    KIND = "task.bounced"
    SAID_BY = PICKER
    SUBJECTS = ("task", "stall")
    STEP = Step.ANSWERED

    price_fen: PriceFen


class RecallSeen(FactBody):
    """The phone has the recall and had not bought: the principal may go back (D9). Said by the phone itself."""

    KIND = "task.recall_seen"
    SAID_BY = PICKER
    SUBJECTS = ("task",)
    STEP = Step.ANSWERED
