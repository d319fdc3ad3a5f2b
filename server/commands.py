"""What people ask of the server: one model a command, left in a table by pages, API and command line; the authority carries it out.

A command is durable before anybody hears "accepted"; its outcome (`{"ok": true, …}` or `{"ok": false, "code", "message"}`) stands in the
same row. A refused command changes nothing (I11). Amounts are whole fen, instants whole milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import insert, select

from server import schema as s
from server.store import Store
from sync_core.errors import RefusedError
from sync_core.payload import canonical_json
from trade.kinds import Day, PriceFen, Text, Word

AmountFen = Annotated[int, Field(ge=0, le=100_000_000_00)]
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""No 0, O, 1, I: a code is read aloud in a noisy market."""


def _holds_nul(value: object) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_holds_nul(part) for pair in value.items() for part in pair)
        case list() | tuple():
            return any(_holds_nul(part) for part in value)
        case _:
            return False


class Command(BaseModel):
    """Base: strict, immutable."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    KIND: ClassVar[str]
    PLATFORM_ONLY: ClassVar[bool] = True
    """Only the platform's people may give it; the others also a merchant, about his own."""
    PRIVATE: ClassVar[tuple[str, ...]] = ()
    """Fields with buyers' data: once the command is done its row keeps their digest only (D18)."""

    @model_validator(mode="after")
    def _texts_can_be_kept(self) -> Self:
        """What PostgreSQL cannot keep is refused on every database, with the field's name."""
        for name, value in self.model_dump().items():
            if _holds_nul(value):
                raise ValueError(f"{name} holds U+0000")
        return self


class MerchantCreate(Command):
    """A merchant of the platform; outcome: `merchant`."""

    KIND = "merchant.create"
    id: Word
    name: Word
    phone: Text = ""
    service_until_ms: int | None = None


class ServiceSet(Command):
    """The end of a merchant's service period; None: without end (R85)."""

    KIND = "merchant.service"
    merchant: Word
    service_until_ms: int | None


class ShopSet(Command):
    """A shop and its settings; makes the shop if it is new (R9)."""

    KIND = "shop.set"
    PLATFORM_ONLY = False
    shop: Word
    merchant: Word
    drop_ship: bool = True
    tolerance_fen: AmountFen = 0
    ship_part: bool = False
    default_answer: Literal["re_enter", "close_line", "wait"] = "re_enter"
    hold_messages: bool = True
    courier: Text = ""
    requirements: Text = ""


class FeesSet(Command):
    """The platform's fee table (R65)."""

    KIND = "fees.set"
    commission_fen_per_piece: AmountFen = 0
    commission_basis_points: Annotated[int, Field(ge=0, le=10_000)] = 0
    courier_fen: AmountFen = 0
    courier_fen_by_region: dict[str, int] = {}
    packing_fen: AmountFen = 0
    check_fen_per_piece: AmountFen = 0


class PlatformSet(Command):
    """Settings of the platform: what a close costs, which regions wait, the market's day."""

    KIND = "platform.set"
    commission_stays: bool = True
    """The commission of the walk stays when a closed piece was bought in good faith (D9)."""
    remote_regions: list[Word] = []
    day_starts_minutes: Annotated[int, Field(ge=0, lt=24 * 60)] = 18 * 60
    utc_offset_minutes: Annotated[int, Field(ge=-14 * 60, le=14 * 60)] = 8 * 60
    offline_days: Annotated[int, Field(ge=1, le=90)] = 7
    """How long a device's certificate lasts from its last contact (REL-R10)."""
    offline_actions: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    offline_fen: Annotated[int, Field(ge=1, le=10**11)] = 10_000_000


class TopUp(Command):
    """Money came in for a merchant; the same `key` (bank reference) counts once (R20)."""

    KIND = "topup"
    merchant: Word
    amount_fen: Annotated[int, Field(gt=0, le=100_000_000_00)]
    key: Word
    note: Text = ""


class OrderFile(BaseModel):
    """One file as it was uploaded."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    name: Annotated[str, Field(max_length=300)]
    content: str
    """Base64."""


class OrdersImport(Command):
    """Read a shop's order files; outcome: counts, problems, changes. A wrong file stores nothing."""

    KIND = "orders.import"
    PLATFORM_ONLY = False
    PRIVATE = ("files",)
    shop: Word
    files: list[OrderFile] = Field(min_length=1, max_length=10)


class OrdersRelease(Command):
    """A person has read the message (or the remark) of these orders: screen them again (R33)."""

    KIND = "orders.release"
    PLATFORM_ONLY = False
    orders: list[Word] = Field(min_length=1, max_length=2000)


class LineCode(Command):
    """A better product code for an order line (R7, R62); the order is screened again."""

    KIND = "line.code"
    PLATFORM_ONLY = False
    order: Word
    line: Word
    code: Annotated[str, Field(min_length=1, max_length=200)]


class AddressGiven(Command):
    """The receiver in full, for a parcel held as "address needed"; or a changed one (E16)."""

    KIND = "order.address_given"
    PLATFORM_ONLY = False
    PRIVATE = ("name", "phone", "address")
    order: Word
    name: Word
    phone: Word
    address: Annotated[str, Field(min_length=1, max_length=300)]


class OrderClose(Command):
    """Nobody wants the order any more (R49, R69, D9)."""

    KIND = "order.close"
    PLATFORM_ONLY = False
    order: Word
    reason: Text = ""


class RefundAsked(Command):
    """The buyer asked for his money back: nothing of the order ships (E15)."""

    KIND = "refund.asked"
    PLATFORM_ONLY = False
    order: Word


class RefundWithdrawn(Command):
    """The buyer took that back."""

    KIND = "refund.withdrawn"
    PLATFORM_ONLY = False
    order: Word


class TaskDecide(Command):
    """The merchant's answer to a stock answer or a bounce (R47-R50, R69, R70, R80)."""

    KIND = "task.decide"
    PLATFORM_ONLY = False
    task: Word
    choice: Literal["change_stall", "requote", "on_day", "again", "close_line", "delist"]
    code: Annotated[str, Field(max_length=200)] | None = None
    """change_stall: the product code of the other stall."""
    quote_fen: PriceFen | None = None
    on_day: Day | None = None


class AskAnswer(Command):
    """The merchant's answer to "the stall wants more" (D7)."""

    KIND = "ask.answer"
    PLATFORM_ONLY = False
    task: Word
    accepted: bool


class OverCapDecide(Command):
    """Whether the merchant pays the excess of a piece bought above the cap (E7)."""

    KIND = "over_cap.decide"
    PLATFORM_ONLY = False
    piece: Word
    accepted: bool


class RoutesAssign(Command):
    """Give what is ready to the pickers' routes, stall by stall (D4); outcome: counts."""

    KIND = "routes.assign"
    day: Day | None = None
    devices: list[int] | None = None


class TaskReassign(Command):
    """Give tasks that are out to another device (D4)."""

    KIND = "task.reassign"
    task: Word
    device: int


class PersonCreate(Command):
    """Somebody who may sign in on devices; make salt and hash with `pin_hash`. The same id again changes name and PIN, unless he left."""

    KIND = "person.create"
    id: Word
    name: Word
    organisation: Word = "platform"
    pin_salt: Word
    pin_hash: Annotated[str, Field(min_length=64, max_length=64)]


class PersonEnd(Command):
    """Somebody left: he signs in nowhere any more (E31)."""

    KIND = "person.end"
    person: Word


class PersonBack(Command):
    """Whoever left at that instant is back; a form that arrives after he left once more lets nobody in."""

    KIND = "person.back"
    person: Word
    ended_ms: int


class DeviceCode(Command):
    """A one-time enrolment code; make it with `new_enrol_code`, which keeps the code itself out of the database."""

    KIND = "device.code"
    code_digest: Annotated[str, Field(min_length=64, max_length=64)]
    role: Literal["picker", "runner", "warehouse"]
    name: Word
    people: list[Word] = Field(min_length=1, max_length=50)
    organisation: Word = "platform"
    warehouse: Word = "main"
    valid_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 60


class DeviceEnrol(Command):
    """A device redeems its code; outcome: what `server.devices.enrol` returns."""

    KIND = "device.enrol"
    code_digest: Annotated[str, Field(min_length=64, max_length=64)]
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    alg: Literal["ed25519"] = "ed25519"
    program: Literal["", "field", "warehouse"] = ""


class DeviceRenumber(Command):
    """A restored or copied device gets another number; outcome as of `device.enrol`."""

    KIND = "device.renumber"
    device: int
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    alg: Literal["ed25519"] = "ed25519"
    damaged: bool = False
    """Its file was damaged: `serial` labels were minted, as far as it knows, and `labels` of what was not sent are saved."""
    serial: Annotated[int, Field(ge=0, le=999_999)] = 0
    labels: Annotated[list[Annotated[str, Field(pattern=r"^\d{12}$")]], Field(max_length=200)] = []
    rotated: bool = False
    """It changes its key: what still comes under the old one waits for a supervisor."""


class DeviceNewKey(Command):
    """This device shall have another key; it takes it by itself when it is connected."""

    KIND = "device.new_key"
    device: int


class DeviceRevoke(Command):
    """The device may do nothing any more; what it still delivers waits for a supervisor."""

    KIND = "device.revoke"
    device: int


class DeviceWriteOff(Command):
    """The device will never answer: its recalls count as answered (D9)."""

    KIND = "device.write_off"
    device: int


class DeviceAllowance(Command):
    """How far a device may go above a cap, in fen (D7)."""

    KIND = "device.allowance"
    device: int
    per_piece_fen: AmountFen
    per_day_fen: AmountFen


class DeviceCells(Command):
    """The cells of a terminal's own wall (D16)."""

    KIND = "device.cells"
    device: int
    cells: list[Word] = Field(min_length=1, max_length=2000)


class ReturnExpected(Command):
    """The merchant agrees that a shipped order comes back; all its pieces, or those named (R73)."""

    KIND = "return.expected"
    PLATFORM_ONLY = False
    order: Word
    courier_no: Word
    pieces: list[Word] | None = None


class TripOpen(Command):
    """A runner takes the bag to the stalls; outcome: `trip`, `document`, `pieces`."""

    KIND = "trip.open"
    device: int
    trip: Word | None = None
    """The bag's own id, when pieces were bagged under one before."""


class RefundDecide(Command):
    """The owner's word on a lower refund of a stall (D12)."""

    KIND = "refund.decide"
    PLATFORM_ONLY = False
    piece: Word
    choice: Literal["accept", "claim"]


class DiscrepancyResolve(Command):
    """A person has dealt with it."""

    KIND = "discrepancy.resolve"
    discrepancy: int
    note: Text = ""


class ParkedRelease(Command):
    """A supervisor lets what a device delivered count after all: a revoked one, or one back too late or with too much."""

    KIND = "parked.release"
    device: int


class OrphanAdopt(Command):
    """A label that no phone explains is taken as its purchase (E29); outcome: `outcome`, `charged_fen`, `device`.

    What the label's QR did not tell (only its bars were read) is named by the supervisor.
    """

    KIND = "orphan.adopt"
    piece: Annotated[str, Field(pattern=r"^\d{12}$")]
    task: Word | None = None
    price_fen: PriceFen | None = None
    means: Literal["cash", "company", "tab", "credit"] = "cash"
    person: Word | None = None


class TasksHandOver(Command):
    """All that is still out on a lost or ended device goes to another one (D4, E29); outcome: `tasks`."""

    KIND = "tasks.hand_over"
    device: int
    to: int


class DayClose(Command):
    """The daily close: differences are released, unanswered questions fall to the shop's setting (D6, D8)."""

    KIND = "day.close"
    day: Day | None = None


class CourierRange(Command):
    """Waybill numbers leased from a courier, first to last (D17)."""

    KIND = "courier.range_added"
    courier: Word
    prefix: Text = ""
    first: Annotated[int, Field(ge=0, lt=10**15)]
    last: Annotated[int, Field(ge=0, lt=10**15)]
    digits: Annotated[int, Field(ge=1, le=15)] = 12
    three_part_code: Text = ""
    bag_place: Text = ""


class StallListed(Command):
    """A stall of the directory (D21)."""

    KIND = "stall.listed"
    market: Word
    floor: Text = ""
    stall: Word
    name: Text = ""
    aisle: Text = ""
    returns_days: Annotated[int, Field(ge=0, le=365)] = 7


class ReceiverPurge(Command):
    """Forget the receivers of parcels shipped that long ago, by deleting their keys (D18)."""

    KIND = "receivers.purge"
    days: Annotated[int, Field(ge=0, le=3650)] = 90


ALL_COMMANDS: tuple[type[Command], ...] = tuple(Command.__subclasses__())
BY_KIND: dict[str, type[Command]] = {command.KIND: command for command in ALL_COMMANDS}


def submit(store: Store, command: Command, *, by: str, now_ms: int) -> int:
    """Leave a command for the authority; returns its id. Durable when it returns; from any thread.

    `by` says who: `platform:<account>`, `merchant:<merchant id>:<account>`, `device:<number>` or `cli`.
    """
    row = {"kind": command.KIND, "body": command.model_dump_json(), "by": by, "created_ms": now_ms}
    with store.outside_writer() as conn:
        found = conn.execute(insert(s.command).values(**row).returning(s.command.c.id)).scalar_one()
    store.wake()
    return int(found)


def outcome(store: Store, command_id: int) -> dict[str, Any] | None:
    """Return the outcome of a command, None while it waits."""
    with store.reading() as conn:
        found = conn.execute(select(s.command.c.outcome).where(s.command.c.id == command_id)).scalar()
    return None if found is None else dict(json.loads(found))


def read_command(kind: str, body: str) -> Command:
    """Return a stored command.

    Raises:
        RefusedError: `command.unknown` or `command.body`.
    """
    model = BY_KIND.get(kind)
    if model is None:
        raise RefusedError("command.unknown", f"there is no command {kind[:60]}")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedError("command.body", f"{place}: {first['msg']}") from error


def body_to_keep(kind: str, body: str) -> str:
    """Return what the row of a command that is done keeps of its body: buyers' data stand there as digests (D18)."""
    model = BY_KIND.get(kind)
    if model is None or not model.PRIVATE:
        return body
    kept = json.loads(body)
    for name in model.PRIVATE:
        if name in kept:
            kept[name] = f"sha256:{hashlib.sha256(canonical_json(kept[name])).hexdigest()}"
    return json.dumps(kept, ensure_ascii=False)


def new_enrol_code() -> tuple[str, str]:
    """Return (a fresh code of ten letters to show, its digest to store): 50 bits, good for one device and an hour."""
    code = "".join(secrets.choice(_LETTERS) for _ in range(10))
    return code, enrol_code_digest(code)


def enrol_code_digest(code: str) -> str:
    """Return the digest of a code as it was typed: case, spaces and dashes do not matter."""
    clean = "".join(letter for letter in code.upper() if letter in _LETTERS)
    return hashlib.sha256(b"nahuo enrol " + clean.encode()).hexdigest()


def pin_hash(pin: str, salt: bytes | None = None) -> tuple[str, str]:
    """Return (salt, hash) of a PIN, hex: scrypt n=2**14, r=8, p=1, 32 bytes, as devices check it offline.

    Raises:
        RefusedError: `person.pin`: not 4 to 12 digits.
    """
    if not (pin.isascii() and pin.isdigit() and 4 <= len(pin) <= 12):
        raise RefusedError("person.pin", "PIN 为 4 到 12 位数字 / a PIN has 4 to 12 digits")
    salt = salt or secrets.token_bytes(16)
    digest = hashlib.scrypt(pin.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
    return salt.hex(), digest.hex()
