"""What a runner says at the stall: paid back, or refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trade.kinds.common import RUNNER, AmountFen, FactBody, Means, Step, Text


class PieceRefunded(FactBody):
    """The stall took the piece back and gave this much (R60)."""

    KIND = "piece.refunded"
    SAID_BY = RUNNER
    SUBJECTS = ("piece", "stall")
    STEP = Step.AT_STALL

    received_fen: AmountFen
    means: Annotated[Means, Field(strict=False)]


class PieceRefused(FactBody):
    """The stall did not take it back; closing asks where the piece is (R61, D15)."""

    KIND = "piece.refused"
    SAID_BY = RUNNER
    SUBJECTS = ("piece", "stall")
    STEP = Step.AT_STALL

    reason: Literal["smell", "tag_missing", "altered", "term_past", "price_fell", "denies", "unfit", "other"]
    then: Literal["keep_trying", "bring_back", "left_at_stall", "written_off"]
    note: Text = ""
