"""What a warehouse terminal says: scanned, packed, shipped, received, inspected, bagged."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from trade.kinds.common import WAREHOUSE, AmountFen, FactBody, PieceCode, ReturnedPiece, Step, Text, Word


class LabelQr(BaseModel):
    """What the label's QR tells a terminal that has never heard of the piece (E12)."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    task: Word
    order: Word
    piece_no: int
    order_pieces: int
    cell: str | None = None
    terminal: int | None = None
    price_fen: AmountFen


class ScannedIn(FactBody):
    """A label was scanned at the warehouse's door (R51); `qr` only when the terminal had never heard of it."""

    KIND = "piece.scanned_in"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.SCANNED_IN

    cell: str | None = None
    qr: LabelQr | None = None


class PiecesSwapped(FactBody):
    """Two bags carry each other's label: each piece now serves the other's task (E11)."""

    KIND = "piece.swapped"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("piece", "piece", "task", "task")
    STEP = Step.SCANNED_IN

    tasks: list[Word] = Field(min_length=2, max_length=2)
    """The tasks the two pieces serve from now on, in the order of the piece subjects."""


class PieceDrawn(FactBody):
    """A piece of the stock was taken from its shelf for an order: sold before it went to market (R34, R57)."""

    KIND = "piece.drawn"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("piece", "task", "order")
    STEP = Step.SCANNED_IN


class ParcelPacked(FactBody):
    """All living pieces of the parcel are in it."""

    KIND = "parcel.packed"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("parcel", "order", "piece")
    STEP = Step.PACKED

    waybill_no: Word
    pieces: list[PieceCode] = Field(min_length=1)


class WaybillPrinted(FactBody):
    """The waybill went to the printer; printed is not shipped. A reprint is the same number (D17)."""

    KIND = "waybill.printed"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("parcel",)
    STEP = Step.PACKED

    waybill_no: Word
    copy_no: int = Field(ge=1)


class ParcelShipped(FactBody):
    """The second scan, of the waybill: the parcel left (R52)."""

    KIND = "parcel.shipped"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("parcel", "order", "piece")
    STEP = Step.SHIPPED

    waybill_no: Word
    pieces: list[PieceCode] = Field(min_length=1)


class ReturnReceived(FactBody):
    """A buyer's parcel came back; unmatched ones are taken in too, with a shelf place (R53, E19)."""

    KIND = "return.received"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("return",)
    STEP = Step.RETURN_RECEIVED

    courier_no: Word
    matched: bool
    shelf: Text = ""
    sender_phone: Text = ""


class PieceInspected(FactBody):
    """Fit: it is stock and gets its return label. Not fit: the pending area (R54-R56, D14)."""

    KIND = "piece.inspected"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("piece", "return")
    STEP = Step.INSPECTED

    passed: bool
    reason: Text = ""
    garment: ReturnedPiece | None = None


class PieceBagged(FactBody):
    """Return-mode scan: out of stock, into the runner's bag (R58)."""

    KIND = "piece.bagged"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("piece", "trip")
    STEP = Step.BAGGED


class PieceBroughtBack(FactBody):
    """A runner brought the piece back: stock again (D15)."""

    KIND = "piece.brought_back"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.AT_STALL


class PendingEnded(FactBody):
    """Where an unfit piece ended (R55)."""

    KIND = "piece.pending_ended"
    SAID_BY = WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.ENDED

    outcome: Literal["returned_to_buyer", "accepted", "handed_to_merchant", "disposed"]
    fee_fen: AmountFen = 0
    fee_payer: Literal["buyer", "merchant", "platform"] = "merchant"
