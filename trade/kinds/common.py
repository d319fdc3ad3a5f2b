"""What every kind stands on: who may speak, how far along a fact lies, the shapes of values, and what a body is."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from sync_core.facts import Fact

SCHEMA = 2
"""The version of this vocabulary; an envelope says with which it was written. 2 brought `piece.adopted`."""

SCHEMA_MIN = 1
"""The oldest version whose programs this one still serves; older ones are told to update and keep working."""

PRICE_FEN_MAX = 10_000_00
"""No garment of these markets costs ten thousand yuan: a price above is a slip of the finger (E8)."""

PriceFen = Annotated[int, Field(gt=0, le=PRICE_FEN_MAX)]
AmountFen = Annotated[int, Field(ge=0, le=100 * PRICE_FEN_MAX)]
Text = Annotated[str, Field(max_length=600)]
Word = Annotated[str, Field(min_length=1, max_length=60)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
PieceCode = Annotated[str, Field(pattern=r"^\d{12}$")]


class Role(StrEnum):
    """Who speaks, per document; the server says it in `document.opened` and `document.writer`."""

    SERVER = "server"
    PICKER = "picker"
    RUNNER = "runner"
    WAREHOUSE = "warehouse"


class Step(IntEnum):
    """How far along the custody path a fact lies: among concurrent facts the further step is folded later and wins."""

    OBSERVED = 0
    ASSIGNED = 10
    ANSWERED = 20
    BOUGHT = 30
    CORRECTED = 35
    SCANNED_IN = 40
    PACKED = 50
    SHIPPED = 60
    RETURN_RECEIVED = 70
    INSPECTED = 80
    BAGGED = 90
    AT_STALL = 100
    ENDED = 110
    VERDICT = 1000


class Means(StrEnum):
    """How a stall was paid, or paid back (D19)."""

    CASH = "cash"
    COMPANY = "company"
    TAB = "tab"
    CREDIT = "credit"


class Answer(StrEnum):
    """What a stall said when it did not sell (D6)."""

    OUT_OF_STOCK = "out_of_stock"
    THIS_AFTERNOON = "this_afternoon"
    TOMORROW = "tomorrow"
    ON_DAY = "on_day"
    UNSURE = "unsure"
    VARIANT_GONE = "variant_gone"
    STYLE_GONE = "style_gone"
    STALL_CLOSED = "stall_closed"
    STALL_WRONG = "stall_wrong"
    PRICE_WRONG = "price_wrong"
    DEFECTIVE = "defective"


class FactBody(BaseModel):
    """The body of a fact: strict, immutable; fields of a newer minor version are kept in the log and passed over here."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    KIND: ClassVar[str]
    SAID_BY: ClassVar[frozenset[Role]]
    SUBJECTS: ClassVar[tuple[str, ...]]
    """Subject types a fact of this kind must name, in this order; more may follow."""
    STEP: ClassVar[Step]

    def about(self, *subjects: str) -> Fact:
        """Return the fact that says this about `subjects`."""
        return Fact(kind=self.KIND, subjects=subjects, body=self.model_dump(mode="json", exclude_none=True))


class ReturnedPiece(BaseModel):
    """One garment a buyer sends back, with what the runner will need at the stall (R59)."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    piece: PieceCode
    task: str
    style: Text
    colour: Text = ""
    size: Text = ""
    market: Text
    floor: Text = ""
    stall: Text
    paid_fen: AmountFen
    picker: Text
    bought_at_ms: int
    terms_days: int = 7


SERVER = frozenset({Role.SERVER})
PICKER = frozenset({Role.PICKER})
RUNNER = frozenset({Role.RUNNER})
WAREHOUSE = frozenset({Role.WAREHOUSE})
