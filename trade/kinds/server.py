"""What the server says: it assigns, recalls, answers, expects and lets in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from trade.kinds.common import (
    SERVER,
    Day,
    FactBody,
    Means,
    PieceCode,
    PriceFen,
    ReturnedPiece,
    Role,
    Step,
    Text,
    Word,
)


class TaskAssigned(FactBody):
    """One wanted piece (D1): what to buy, where, at which cap, and where the warehouse will put it (D16)."""

    KIND = "task.assigned"
    SAID_BY = SERVER
    SUBJECTS = ("task", "order")
    STEP = Step.ASSIGNED

    source: Literal["stall", "stock"]
    """`stock`: no walk, the piece named in `piece` is drawn from the warehouse."""
    piece: PieceCode | None = None
    order_no: Word
    """The shop's own order number."""
    merchant: Word
    merchant_name: Word
    shop: Word
    line: Word
    """The order line; its tasks are shown and bought as one group."""
    copy_no: int = Field(ge=1)
    copies: int = Field(ge=1)
    """This is piece `copy_no` of `copies` of its line…"""
    piece_no: int = Field(ge=1)
    order_pieces: int = Field(ge=1)
    """…and piece `piece_no` of `order_pieces` of its order ("2/3" on the label)."""
    title: Text = ""
    style: Word
    colour: Text = ""
    size: Text = ""
    market: Word
    floor: Text = ""
    stall: Word
    """The stall's door, e.g. `315`; the stall's id is `stall:market/floor/stall`."""
    drop_ship: bool
    quote_fen: PriceFen
    cap_fen: PriceFen
    """Quote plus tolerance (D7). For own-shipped orders a price above is a warning, not a bounce (D20)."""
    cell: str | None = None
    terminal: int | None = None
    """The owner of a multi-piece order and the cell in its wall; both None for single pieces (D16)."""
    day: Day
    attempt: int = Field(ge=1)
    replaces: str | None = None
    """The task id this one continues after a bounce, a stock answer or a reassignment."""
    assigned_to: int | None = None
    courier: Text = ""
    requirements: Text = ""
    note: Text = ""


class TaskRecalled(FactBody):
    """The task is withdrawn; a purchase made without having seen this still stands (D9, D11)."""

    KIND = "task.recalled"
    SAID_BY = SERVER
    SUBJECTS = ("task",)
    STEP = Step.ASSIGNED

    reason: Literal["closed", "refund", "reassigned", "stall_changed", "delisted"]
    note: Text = ""


class AskAnswered(FactBody):
    """The merchant's answer to a question about a price above the cap; accepted raises the cap (D7)."""

    KIND = "task.ask_answered"
    SAID_BY = SERVER
    SUBJECTS = ("task",)
    STEP = Step.ASSIGNED

    accepted: bool
    cap_fen: PriceFen


class OrderClosed(FactBody):
    """The order is closed: nothing of it may ship."""

    KIND = "order.closed"
    SAID_BY = SERVER
    SUBJECTS = ("order",)
    STEP = Step.VERDICT

    reason: Text = ""


class RefundAsked(FactBody):
    """The buyer asked for his money back, or took that back: shipping stops, or goes on (E15)."""

    KIND = "order.refund_asked"
    SAID_BY = SERVER
    SUBJECTS = ("order",)
    STEP = Step.VERDICT

    withdrawn: bool = False


class WaybillObtained(FactBody):
    """All that a terminal needs to pack and print without a network (D17). `sealed` is the receiver under the parcel's key (D18)."""

    KIND = "waybill.obtained"
    SAID_BY = SERVER
    SUBJECTS = ("parcel", "order")
    STEP = Step.ASSIGNED

    waybill_no: Word
    courier: Word
    three_part_code: Text
    bag_place: Text = ""
    sender_name: Word
    sealed: Annotated[str, Field(max_length=4000)]
    """Base64 of nonce + AES-GCM of JSON {name, phone, address}."""
    tasks: list[str]
    """The task ids whose pieces travel in this parcel."""


class ParcelHeld(FactBody):
    """No waybill can be had yet, and why; picking goes on (D17)."""

    KIND = "parcel.held"
    SAID_BY = SERVER
    SUBJECTS = ("parcel", "order")
    STEP = Step.ASSIGNED

    reason: Literal["address_needed", "no_number", "courier_refuses"]
    tasks: list[str]


class WaybillVoided(FactBody):
    """The number must not ship; a later `waybill.obtained` brings another (E16)."""

    KIND = "waybill.voided"
    SAID_BY = SERVER
    SUBJECTS = ("parcel",)
    STEP = Step.ASSIGNED

    waybill_no: Word
    reason: Text = ""


class ReturnExpected(FactBody):
    """A buyer's parcel is on its way back, known by its courier number; subject `return:<courier number>` (R53, R73)."""

    KIND = "return.expected"
    SAID_BY = SERVER
    SUBJECTS = ("return", "order")
    STEP = Step.RETURN_RECEIVED

    courier_no: Word
    order_no: Word
    merchant: Word
    merchant_name: Word
    pieces: list[ReturnedPiece]


class TripAssigned(FactBody):
    """A bagged return piece goes with a runner to its stall; stands in the trip's route document."""

    KIND = "trip.assigned"
    SAID_BY = SERVER
    SUBJECTS = ("piece", "trip")
    STEP = Step.BAGGED

    garment: ReturnedPiece
    merchant: Word
    merchant_name: Word


class StallListed(FactBody):
    """A stall of the directory and its return terms (D21); in the market's document."""

    KIND = "stall.listed"
    SAID_BY = SERVER
    SUBJECTS = ("stall",)
    STEP = Step.OBSERVED

    market: Word
    floor: Text = ""
    stall: Word
    name: Text = ""
    aisle: Text = ""
    returns_days: int = 7


class DeviceScope(FactBody):
    """What a device may sync and do, and how; in its own `device/` document. The last one holds."""

    KIND = "device.scope"
    SAID_BY = SERVER
    SUBJECTS = ("device",)
    STEP = Step.ASSIGNED

    role: Annotated[Role, Field(strict=False)]
    organisation: Word
    documents: list[str]
    """All documents the device syncs now, besides its own `device/` document."""
    people: list[Person]
    terminal_name: Text = ""
    override_fen_per_piece: int = 0
    override_fen_per_day: int = 0
    low_disk: bool = False


class Person(BaseModel):
    """Somebody who may sign in on the device by PIN, also offline."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    id: Word
    name: Word
    pin_salt: Word
    pin_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hex of scrypt(PIN, salt, n=2**14, r=8, p=1, 32 bytes)."""


class PieceAdopted(FactBody):
    """A label nobody's phone explains is taken as its purchase, by a supervisor: the phone is lost, the bag is here (E29).

    Counts as the purchase of the phone that minted the code. That phone's own `piece.bought`, should it ever arrive, takes its place.
    """

    KIND = "piece.adopted"
    SAID_BY = SERVER
    SUBJECTS = ("task", "piece", "stall")
    STEP = Step.BOUGHT

    price_fen: PriceFen
    """As the label says it, or the supervisor where only the bars could be read."""
    means: Annotated[Means, Field(strict=False)]
    bought_by: int = Field(ge=0)
    """The number of the phone that printed the label."""
    person: Word
    """Who carried that phone: the money is of his float."""


DeviceScope.model_rebuild()
