"""The vocabulary: every kind of fact, who may say it, about what, and the shape of its body.

One class a kind; a body that does not fit its class, or an author whose role may not say it, makes the fact void.
Amounts are whole fen, instants whole milliseconds, days `YYYY-MM-DD` business days of the market (D22).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, ClassVar, Literal

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


_SERVER = frozenset({Role.SERVER})
_PICKER = frozenset({Role.PICKER})
_RUNNER = frozenset({Role.RUNNER})
_WAREHOUSE = frozenset({Role.WAREHOUSE})


# --- the server assigns, recalls, answers -------------------------------------------------------------------------------


class TaskAssigned(FactBody):
    """One wanted piece (D1): what to buy, where, at which cap, and where the warehouse will put it (D16)."""

    KIND = "task.assigned"
    SAID_BY = _SERVER
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
    SAID_BY = _SERVER
    SUBJECTS = ("task",)
    STEP = Step.ASSIGNED

    reason: Literal["closed", "refund", "reassigned", "stall_changed", "delisted"]
    note: Text = ""


class AskAnswered(FactBody):
    """The merchant's answer to a question about a price above the cap; accepted raises the cap (D7)."""

    KIND = "task.ask_answered"
    SAID_BY = _SERVER
    SUBJECTS = ("task",)
    STEP = Step.ASSIGNED

    accepted: bool
    cap_fen: PriceFen


class OrderClosed(FactBody):
    """The order is closed: nothing of it may ship."""

    KIND = "order.closed"
    SAID_BY = _SERVER
    SUBJECTS = ("order",)
    STEP = Step.VERDICT

    reason: Text = ""


class RefundAsked(FactBody):
    """The buyer asked for his money back, or took that back: shipping stops, or goes on (E15)."""

    KIND = "order.refund_asked"
    SAID_BY = _SERVER
    SUBJECTS = ("order",)
    STEP = Step.VERDICT

    withdrawn: bool = False


class WaybillObtained(FactBody):
    """All that a terminal needs to pack and print without a network (D17). `sealed` is the receiver under the parcel's key (D18)."""

    KIND = "waybill.obtained"
    SAID_BY = _SERVER
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
    SAID_BY = _SERVER
    SUBJECTS = ("parcel", "order")
    STEP = Step.ASSIGNED

    reason: Literal["address_needed", "no_number", "courier_refuses"]
    tasks: list[str]


class WaybillVoided(FactBody):
    """The number must not ship; a later `waybill.obtained` brings another (E16)."""

    KIND = "waybill.voided"
    SAID_BY = _SERVER
    SUBJECTS = ("parcel",)
    STEP = Step.ASSIGNED

    waybill_no: Word
    reason: Text = ""


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


class ReturnExpected(FactBody):
    """A buyer's parcel is on its way back, known by its courier number; subject `return:<courier number>` (R53, R73)."""

    KIND = "return.expected"
    SAID_BY = _SERVER
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
    SAID_BY = _SERVER
    SUBJECTS = ("piece", "trip")
    STEP = Step.BAGGED

    garment: ReturnedPiece
    merchant: Word
    merchant_name: Word


class StallListed(FactBody):
    """A stall of the directory and its return terms (D21); in the market's document."""

    KIND = "stall.listed"
    SAID_BY = _SERVER
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
    SAID_BY = _SERVER
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
    SAID_BY = _SERVER
    SUBJECTS = ("task", "piece", "stall")
    STEP = Step.BOUGHT

    price_fen: PriceFen
    """As the label says it, or the supervisor where only the bars could be read."""
    means: Annotated[Means, Field(strict=False)]
    bought_by: int = Field(ge=0)
    """The number of the phone that printed the label."""
    person: Word
    """Who carried that phone: the money is of his float."""


# --- the server's verdicts ----------------------------------------------------------------------------------------------


class PurchaseVerdict(FactBody):
    """What becomes of one purchase, and of the money; stands whatever comes later (D9, D10, D11, E7)."""

    KIND = "verdict.purchase"
    SAID_BY = _SERVER
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
    SAID_BY = _SERVER
    SUBJECTS = ("task",)
    STEP = Step.VERDICT

    fact: str
    outcome: Literal["accepted", "overruled", "too_late"]
    next: Literal["none", "merchant_asked", "again_on_day", "stopped"] = "none"
    on_day: Day | None = None


class StockVerdict(FactBody):
    """Who keeps a return piece that was bagged and sold at once, and what the loser does with his hands (D14, E21)."""

    KIND = "verdict.stock"
    SAID_BY = _SERVER
    SUBJECTS = ("piece",)
    STEP = Step.VERDICT

    fact: str
    """The id of the fact that lost."""
    winner: Literal["bag", "parcel"]
    todo: Literal["pull_from_bag", "pick_again", "none"]


class RefundVerdict(FactBody):
    """What the owner of a returned piece was credited (D12)."""

    KIND = "verdict.refund"
    SAID_BY = _SERVER
    SUBJECTS = ("piece",)
    STEP = Step.VERDICT

    fact: str
    outcome: Literal["settled", "lower_waits", "refused"]
    credited_fen: AmountFen


# --- the picker at the stall --------------------------------------------------------------------------------------------


class PieceBought(FactBody):
    """A garment was bought and its label minted; the bag exists whatever anybody decides."""

    KIND = "piece.bought"
    SAID_BY = _PICKER
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
    SAID_BY = _PICKER
    SUBJECTS = ("task", "piece")
    STEP = Step.CORRECTED

    fact: str


class PriceCorrected(FactBody):
    """The price of a bought piece was keyed wrong; never an edit in place (E8)."""

    KIND = "piece.price_corrected"
    SAID_BY = _PICKER
    SUBJECTS = ("task", "piece")
    STEP = Step.CORRECTED

    price_fen: PriceFen


class LabelReprinted(FactBody):
    """Another sticker of the same piece (E9)."""

    KIND = "piece.label_reprinted"
    SAID_BY = _PICKER | _WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.OBSERVED

    copy_no: int = Field(ge=2)


class TaskAnswered(FactBody):
    """The stall does not sell it now (D6)."""

    KIND = "task.answered"
    SAID_BY = _PICKER
    SUBJECTS = ("task", "stall")
    STEP = Step.ANSWERED

    answer: Annotated[Answer, Field(strict=False)]
    on_day: Day | None = None
    note: Text = ""


class AnswerWithdrawn(FactBody):
    """The answer was a slip; the task is open again."""

    KIND = "task.answer_withdrawn"
    SAID_BY = _PICKER
    SUBJECTS = ("task",)
    STEP = Step.ANSWERED

    fact: str


class PriceAsked(FactBody):
    """The stall wants more than the cap; the merchant is asked (D7)."""

    KIND = "task.asked"
    SAID_BY = _PICKER
    SUBJECTS = ("task",)
    STEP = Step.ANSWERED

    price_fen: PriceFen


class TaskBounced(FactBody):
    """The stall wants more than the cap; the order goes back to the merchant (R80)."""

    KIND = "task.bounced"
    SAID_BY = _PICKER
    SUBJECTS = ("task", "stall")
    STEP = Step.ANSWERED

    price_fen: PriceFen


class RecallSeen(FactBody):
    """The phone has the recall and had not bought: the principal may go back (D9). Said by the phone itself."""

    KIND = "task.recall_seen"
    SAID_BY = _PICKER
    SUBJECTS = ("task",)
    STEP = Step.ANSWERED


# --- the warehouse ------------------------------------------------------------------------------------------------------


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
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.SCANNED_IN

    cell: str | None = None
    qr: LabelQr | None = None


class PiecesSwapped(FactBody):
    """Two bags carry each other's label: each piece now serves the other's task (E11)."""

    KIND = "piece.swapped"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("piece", "piece", "task", "task")
    STEP = Step.SCANNED_IN

    tasks: list[Word] = Field(min_length=2, max_length=2)
    """The tasks the two pieces serve from now on, in the order of the piece subjects."""


class PieceDrawn(FactBody):
    """A piece of the stock was taken from its shelf for an order: sold before it went to market (R34, R57)."""

    KIND = "piece.drawn"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("piece", "task", "order")
    STEP = Step.SCANNED_IN


class ParcelPacked(FactBody):
    """All living pieces of the parcel are in it."""

    KIND = "parcel.packed"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("parcel", "order", "piece")
    STEP = Step.PACKED

    waybill_no: Word
    pieces: list[PieceCode] = Field(min_length=1)


class WaybillPrinted(FactBody):
    """The waybill went to the printer; printed is not shipped. A reprint is the same number (D17)."""

    KIND = "waybill.printed"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("parcel",)
    STEP = Step.PACKED

    waybill_no: Word
    copy_no: int = Field(ge=1)


class ParcelShipped(FactBody):
    """The second scan, of the waybill: the parcel left (R52)."""

    KIND = "parcel.shipped"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("parcel", "order", "piece")
    STEP = Step.SHIPPED

    waybill_no: Word
    pieces: list[PieceCode] = Field(min_length=1)


class ReturnReceived(FactBody):
    """A buyer's parcel came back; unmatched ones are taken in too, with a shelf place (R53, E19)."""

    KIND = "return.received"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("return",)
    STEP = Step.RETURN_RECEIVED

    courier_no: Word
    matched: bool
    shelf: Text = ""
    sender_phone: Text = ""


class PieceInspected(FactBody):
    """Fit: it is stock and gets its return label. Not fit: the pending area (R54-R56, D14)."""

    KIND = "piece.inspected"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("piece", "return")
    STEP = Step.INSPECTED

    passed: bool
    reason: Text = ""
    garment: ReturnedPiece | None = None


class PieceBagged(FactBody):
    """Return-mode scan: out of stock, into the runner's bag (R58)."""

    KIND = "piece.bagged"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("piece", "trip")
    STEP = Step.BAGGED


class PieceBroughtBack(FactBody):
    """A runner brought the piece back: stock again (D15)."""

    KIND = "piece.brought_back"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.AT_STALL


class PendingEnded(FactBody):
    """Where an unfit piece ended (R55)."""

    KIND = "piece.pending_ended"
    SAID_BY = _WAREHOUSE
    SUBJECTS = ("piece",)
    STEP = Step.ENDED

    outcome: Literal["returned_to_buyer", "accepted", "handed_to_merchant", "disposed"]
    fee_fen: AmountFen = 0
    fee_payer: Literal["buyer", "merchant", "platform"] = "merchant"


# --- the runner at the stall --------------------------------------------------------------------------------------------


class PieceRefunded(FactBody):
    """The stall took the piece back and gave this much (R60)."""

    KIND = "piece.refunded"
    SAID_BY = _RUNNER
    SUBJECTS = ("piece", "stall")
    STEP = Step.AT_STALL

    received_fen: AmountFen
    means: Annotated[Means, Field(strict=False)]


class PieceRefused(FactBody):
    """The stall did not take it back; closing asks where the piece is (R61, D15)."""

    KIND = "piece.refused"
    SAID_BY = _RUNNER
    SUBJECTS = ("piece", "stall")
    STEP = Step.AT_STALL

    reason: Literal["smell", "tag_missing", "altered", "term_past", "price_fell", "denies", "unfit", "other"]
    then: Literal["keep_trying", "bring_back", "left_at_stall", "written_off"]
    note: Text = ""


DeviceScope.model_rebuild()

ALL_KINDS: tuple[type[FactBody], ...] = tuple(FactBody.__subclasses__())
BY_KIND: dict[str, type[FactBody]] = {kind.KIND: kind for kind in ALL_KINDS}
