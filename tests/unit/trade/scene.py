"""A document in which devices speak, each knowing exactly what it was told: the stage of the trade's tests."""

from __future__ import annotations

from typing import Any

from sync_core.facts import Admission, Envelope, Fact, PlacedFact, carry, place
from sync_core.fold import fold_subject
from sync_core.payload import decode_payload, encode_payload
from trade import kinds
from trade.piece_code import mint_piece_code
from trade.projections import MARKET_DAY

SERVER, ANNA, BO, DOOR, DESK, RUNNER = 0, 101, 102, 110, 111, 120
ROLES = {
    SERVER: "server", ANNA: "picker", BO: "picker", DOOR: "warehouse", DESK: "warehouse", RUNNER: "runner"
}  # fmt: skip
PEOPLE = {SERVER: "server", ANNA: "anna", BO: "bo", DOOR: "dai", DESK: "deng", RUNNER: "ru"}
STALL = "stall:国大/3F/315"
T, ORDER, PARCEL = "task:T1001-1", "order:O1001", "parcel:P1001"


def code(device: int, serial: int) -> str:
    """A piece code as the device mints it."""
    return str(mint_piece_code(device, serial))


A1, A2, B1 = code(ANNA, 1), code(ANNA, 2), code(BO, 1)


class Scene:
    """Envelopes of one document; `say` speaks with what the device has heard so far."""

    def __init__(self) -> None:
        self.facts: list[PlacedFact] = []
        self._seq: dict[int, int] = {}
        self._basis: dict[int, dict[int, int]] = {}

    def say(self, device: int, *facts: Fact, at_ms: int = 1_000, person: str | None = None) -> PlacedFact:
        """Say the facts of one action in one envelope; returns the first."""
        seq = self._seq[device] = self._seq.get(device, 0) + 1
        basis = dict(self._basis.get(device, {}))
        envelope = Envelope(
            device=device,
            seq=seq,
            person=person or PEOPLE[device],
            at_ms=at_ms,
            schema=kinds.SCHEMA,
            basis=basis,
            facts=facts,
        )
        envelope = decode_payload(encode_payload(envelope))
        placed = place(envelope, document="", basis=basis, admission=Admission(role=ROLES[device]))
        self.facts.extend(placed)
        return placed[0]

    def hear(self, device: int, *facts: PlacedFact) -> None:
        """The device folds these facts' envelopes; without any, all there are."""
        basis = self._basis.setdefault(device, {})
        for fact in facts or self.facts:
            if fact.writer != device:
                basis[fact.writer] = max(basis.get(fact.writer, 0), fact.seq)

    def tell_all(self, *facts: PlacedFact) -> None:
        """Everybody hears these facts; without any, everything."""
        for device in ROLES:
            self.hear(device, *facts)

    def carried(self, fact: PlacedFact) -> PlacedFact:
        """The server, which has heard everything here, carries a fact of another document in."""
        self.hear(SERVER)
        return self.say(SERVER, carry(fact))

    def state(self, subject: str) -> dict[str, Any]:
        """The folded state of a subject."""
        about = [fact for fact in self.facts if subject in fact.subjects]
        return fold_subject(MARKET_DAY, subject, about)

    def task(self, task: str = T) -> dict[str, Any]:
        return self.state(task)

    def piece(self, piece: str = A1) -> dict[str, Any]:
        return self.state(f"piece:{piece}")


def assigned(
    *,
    task: str = T,
    order: str = ORDER,
    to: int | None = ANNA,
    cap_fen: int = 6500,
    piece_no: int = 1,
    order_pieces: int = 1,
    cell: str | None = None,
    terminal: int | None = None,
    source: Any = "stall",
    piece: str | None = None,
    drop_ship: bool = True,
    replaces: str | None = None,
) -> Fact:
    body = kinds.TaskAssigned(
        source=source, piece=piece, order_no="2026050112345678901", merchant="M1", merchant_name="小店", shop="S1", line="L1",
        copy_no=1, copies=1, piece_no=piece_no, order_pieces=order_pieces, style="8821#", colour="黑", size="M", market="国大",
        floor="3F", stall="315", drop_ship=drop_ship, quote_fen=6500, cap_fen=cap_fen, cell=cell, terminal=terminal,
        day="2026-05-01", attempt=1, replaces=replaces, assigned_to=to,
    )  # fmt: skip
    return body.about(task, order)


def bought(piece: str = A1, *, task: str = T, price_fen: int = 6000, **more: Any) -> Fact:
    return kinds.PieceBought(price_fen=price_fen, means=kinds.Means.CASH, **more).about(task, f"piece:{piece}", STALL)


def answered(answer: kinds.Answer = kinds.Answer.OUT_OF_STOCK, *, task: str = T, on_day: str | None = None) -> Fact:
    return kinds.TaskAnswered(answer=answer, on_day=on_day).about(task, STALL)


def recalled(reason: Any = "closed", *, task: str = T) -> Fact:
    return kinds.TaskRecalled(reason=reason).about(task)


def verdict(fact: PlacedFact, piece: str, outcome: Any, *, task: str = T, keeper: str | None = None) -> Fact:
    body = kinds.PurchaseVerdict(fact=fact.id, outcome=outcome, owner="M1", charged_fen=6000, keeper=keeper)
    return body.about(task, f"piece:{piece}")


def scanned(piece: str = A1, *, cell: str | None = None, qr: kinds.LabelQr | None = None) -> Fact:
    return kinds.ScannedIn(cell=cell, qr=qr).about(f"piece:{piece}")


def garment(piece: str = A1) -> kinds.ReturnedPiece:
    return kinds.ReturnedPiece(
        piece=piece, task="T1001-1", style="8821#", colour="黑", size="M", market="国大", floor="3F", stall="315",
        paid_fen=6000, picker="anna", bought_at_ms=5,
    )  # fmt: skip


def inspected(piece: str = A1, *, passed: bool = True) -> Fact:
    return kinds.PieceInspected(passed=passed, garment=garment(piece)).about(f"piece:{piece}", "return:SF1")


def drawn(piece: str = A1, *, task: str = "task:T1002-1", order: str = "order:O1002") -> Fact:
    return kinds.PieceDrawn().about(f"piece:{piece}", task, order)


def bagged(piece: str = A1, *, trip: str = "trip:2026-05-01-trip-1") -> Fact:
    return kinds.PieceBagged().about(f"piece:{piece}", trip)


def packed(piece: str = A1, *, parcel: str = PARCEL, order: str = ORDER, waybill_no: str = "SF9") -> Fact:
    return kinds.ParcelPacked(waybill_no=waybill_no, pieces=[piece]).about(parcel, order, f"piece:{piece}")


def shipped(piece: str = A1, *, parcel: str = PARCEL, order: str = ORDER, waybill_no: str = "SF9") -> Fact:
    return kinds.ParcelShipped(waybill_no=waybill_no, pieces=[piece]).about(parcel, order, f"piece:{piece}")


def waybill(waybill_no: str = "SF9", *, parcel: str = PARCEL, order: str = ORDER) -> Fact:
    body = kinds.WaybillObtained(
        waybill_no=waybill_no,
        courier="SF",
        three_part_code="571-A-01",
        sender_name="小店",
        sealed="",
        tasks=["T1001-1"],
    )
    return body.about(parcel, order)


def qr(*, task: str = "T1001-1", order: str = "O1001", cell: str | None = None) -> kinds.LabelQr:
    return kinds.LabelQr(task=task, order=order, piece_no=1, order_pieces=1, cell=cell, terminal=DOOR, price_fen=6000)
