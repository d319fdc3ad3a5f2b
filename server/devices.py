"""Devices: one-time codes, enrolment, another number for a restored one, what they may sync, revocation.

A code enrols one device within its time; only its digest is stored. All of this runs as commands of the authority, since it alone says
who may speak in a document. A revoked device still delivers what it holds and is sent nothing. Rules E30, E31, D16, D20; design section 4.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select

from server import commands as c
from server import contact
from server import schema as s
from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch, device_document, warehouse_document
from server.authority.closing import numbers_since
from server.authority.dispatch import put_in_warehouse
from server.authority.documents import open_warehouse, say_scope
from server.installation import FIRST_DEVICE
from server.rows import get_meta, set_meta, upsert
from sync_core import limits
from sync_core.errors import RefusedError
from sync_core.facts import DOCUMENT_WRITER, Fact
from sync_core.payload import canonical_json

LATE_WORK_MS: Final = 100 * 24 * 60 * 60 * 1000
"""How long ago a document may have ended in which a restored device still says again what it had not delivered."""

PROGRAMS: Final = {"picker": "field", "runner": "field", "warehouse": "warehouse"}
"""{a device's role: the program it runs}."""

CELLS: Final = tuple(f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 21))
"""A new terminal's wall until `device.cells` says otherwise: 160 cells."""


def keep_code(b: Batch, command: c.DeviceCode) -> dict[str, Any]:
    """Make a one-time code redeemable.

    Raises:
        RefusedError: `person.unknown`, `warehouse.taken`.
    """
    known = set(b.conn.execute(select(s.person.c.id).where(s.person.c.ended_ms.is_(None))).scalars())
    unknown = [person for person in command.people if person not in known]
    if unknown:
        raise RefusedError("person.unknown", f"没有人员 {unknown[0]} / there is no person {unknown[0]}")
    known_code = b.row(s.enrol_code, command.code_digest)
    if known_code is not None:
        return {"expires_ms": known_code.expires_ms}
    warehouse = command.warehouse if command.role == "warehouse" else ""
    _check_house(b, warehouse, command.organisation)
    b.put(
        s.enrol_code, ("digest",), digest=command.code_digest, role=command.role, organisation=command.organisation,
        warehouse=warehouse, name=command.name, people=json.dumps(command.people, ensure_ascii=False), created_ms=b.now_ms,
        expires_ms=b.now_ms + command.valid_minutes * 60_000, used_ms=None, device=None,
    )  # fmt: skip
    return {"expires_ms": b.now_ms + command.valid_minutes * 60_000}


def _check_house(b: Batch, warehouse: str, organisation: str) -> None:
    """A warehouse is one organisation's: two that used one name would read each other's orders and receivers (D20)."""
    d = s.device.c
    others = select(d.number).where(d.role == "warehouse", d.warehouse == warehouse, d.organisation != organisation)
    if warehouse and b.conn.execute(others.limit(1)).first() is not None:
        raise RefusedError(
            "warehouse.taken",
            f"仓库名「{warehouse}」是别的组织的，请换一个 / the warehouse {warehouse} is another organisation's: name yours otherwise",
        )


def enrol(b: Batch, command: c.DeviceEnrol) -> dict[str, Any]:
    """Enrol a device: its number, role and scope, signed.

    Returns what the device keeps: number, role, organisation, server_number, server_key (hex), certificate, documents, people.

    Raises:
        RefusedError: `enrol.code`, `enrol.expired`, `enrol.used`, `enrol.program`, `enrol.numbers`, `warehouse.taken`.
    """
    row = b.row(s.enrol_code, command.code_digest)
    if row is None:
        raise RefusedError("enrol.code", "配对码不对 / this code is not known")
    if row.used_ms is not None:
        used = b.row(s.device, row.device)
        if used is not None and bytes(used.public_key).hex() == command.public_key:
            return _told(b, used.number)  # The answer got lost; the same device asks again.
        raise RefusedError("enrol.used", "配对码已用过 / this code was used already: ask for a new one")
    _check_program(row.role, command.program)
    if row.expires_ms <= b.now_ms:
        raise RefusedError("enrol.expired", "配对码已过期 / this code has expired: ask for a new one")
    _check_house(b, row.warehouse, row.organisation)
    number = _next_number(b)
    b.conn.execute(
        insert(s.device).values(
            number=number,
            public_key=bytes.fromhex(command.public_key),
            alg=command.alg,
            role=row.role,
            organisation=row.organisation,
            name=row.name,
            warehouse=row.warehouse,
            documents="[]",
            people=row.people,
            certificate=_certificate(b, number, command, row.role, row.organisation),
            enrolled_ms=b.now_ms,
            seen_ms=b.now_ms,
        )
    )
    b.set(s.enrol_code, command.code_digest, used_ms=b.now_ms, device=number)
    b.open_document(device_document(number), owner=str(number), writers={})
    documents = [
        name
        for name in b.conn.execute(
            select(s.document.c.name).where(s.document.c.kind == "market", s.document.c.closed_ms.is_(None))
        ).scalars()
        if row.organisation == PLATFORM
    ]
    if row.role == "warehouse":
        _open_wall(b, number, row.warehouse)
        documents.append(b.newest(warehouse_document(row.warehouse)))
    elif row.role == "picker":
        for document in documents:
            b.admit(document, number, "picker")
    say_scope(b, number, documents)
    return _told(b, number)


def _check_program(role: str, program: str) -> None:
    """The wrong program would use the code up and open a page that stays empty for ever; an older one does not say which it is."""
    if not program or program == PROGRAMS[role]:
        return
    if role == "warehouse":
        raise RefusedError(
            "enrol.program",
            "这是仓库终端的登记码，还没有用掉：请用 nahuo warehouse"
            " / this code is for a warehouse terminal and is still good: run `nahuo warehouse`",
        )
    raise RefusedError(
        "enrol.program",
        "这是拿货员或退货员手机的登记码，还没有用掉：请用 nahuo field"
        " / this code is for a picker's or runner's phone and is still good: run `nahuo field`",
    )


def renumber(b: Batch, command: c.DeviceRenumber) -> dict[str, Any]:
    """Give a restored or copied device, or one that changes its key, another number; its old one may say nothing new, what it said stays.

    In every document of the old number that is open, or ended lately, the new one speaks in the same role and continues it, so that
    work said again under its old ids counts once (design section 4).

    Raises:
        RefusedError: `device.unknown`, `device.revoked`, `enrol.numbers`.
    """
    old = _need(b, command.device)
    taken = None if old.replaced_by is None else b.row(s.device, old.replaced_by)
    if taken is not None and bytes(taken.public_key).hex() == command.public_key:
        return _told(b, taken.number)  # The answer got lost; the same device asks again.
    if old.revoked_ms is not None:
        raise RefusedError("device.revoked", "这台设备已停用 / this device was revoked")
    number = _next_number(b)
    b.conn.execute(
        insert(s.device).values(
            number=number,
            public_key=bytes.fromhex(command.public_key),
            alg=command.alg,
            role=old.role,
            organisation=old.organisation,
            name=old.name,
            warehouse=old.warehouse,
            documents="[]",
            people=old.people,
            override_fen_per_piece=old.override_fen_per_piece,
            override_fen_per_day=old.override_fen_per_day,
            enrolled_ms=b.now_ms,
            seen_ms=b.now_ms,
            certificate=_certificate(b, number, command, old.role, old.organisation),
        )
    )
    b.open_document(device_document(number), owner=str(number), writers={})
    w, d = s.writer.c, s.document.c
    spoke = b.conn.execute(
        select(w.document, w.role, w.continues)
        .join(s.document, d.name == w.document)
        .where(w.device == command.device, w.role != "")
        .where(d.closed_ms.is_(None) | (d.closed_ms >= b.now_ms - LATE_WORK_MS))
    ).all()
    for row in spoke:
        continues = sorted({command.device, *json.loads(row.continues)})
        body = {"device": number, "role": row.role, "continues": continues}
        b.say_here(row.document, Fact(kind=DOCUMENT_WRITER, subjects=("document",), body=body))
    b.conn.execute(
        st.task.update()
        .where(st.task.c.device == command.device)
        .where(st.task.c.status.not_in(("bought", "ended")))
        .values(device=number)
    )
    b.conn.execute(st.cell.update().where(st.cell.c.terminal == command.device).values(terminal=number))
    b.conn.execute(
        st.shop_order.update()
        .where(st.shop_order.c.terminal == command.device)
        .where(st.shop_order.c.status.not_in(("shipped", "closed")))
        .values(terminal=number)
    )
    b.conn.execute(st.trip.update().where(st.trip.c.device == command.device).values(device=number))
    b.set(s.device, command.device, replaced_by=number)
    contact.carry_over(b, command.device, number)
    if command.rotated:
        # Whoever holds the old key from now on, it is not the device. A copy's leaves the wish as it is: the original is still asked.
        b.conn.execute(delete(s.key_asked).where(s.key_asked.c.device == command.device))
        b.store.new_keys.discard(command.device)
        _end(b, old)
    say_scope(b, number, json.loads(old.documents))
    return _told(b, number)


def ask_new_key(b: Batch, command: c.DeviceNewKey) -> dict[str, Any]:
    """Have a device take another key as soon as it is connected (REL-R10); asked twice it takes one.

    Raises:
        RefusedError: `device.unknown`, `device.revoked`.
    """
    device = _need(b, command.device)
    if device.revoked_ms is not None:
        raise RefusedError("device.revoked", "这台设备已停用 / this device was revoked")
    upsert(b.conn, s.key_asked, ("device",), {"device": device.number, "asked_ms": b.now_ms})
    b.store.new_keys.add(device.number)
    return {"device": device.number}


def set_cells(b: Batch, command: c.DeviceCells) -> dict[str, Any]:
    """Name the cells of a terminal's wall; leased ones stay until their order leaves."""
    keep = st.cell.c
    b.conn.execute(
        st.cell.delete().where(
            keep.terminal == command.device, keep.order_id.is_(None), keep.cell.not_in(command.cells)
        )
    )
    for name in command.cells:
        known = b.conn.execute(select(keep.cell).where(keep.terminal == command.device, keep.cell == name)).first()
        if known is None:
            b.conn.execute(insert(st.cell).values(terminal=command.device, cell=name))
    return {"cells": len(command.cells)}


def set_allowance(b: Batch, command: c.DeviceAllowance) -> dict[str, Any]:
    """How far a device may go above a cap (D7)."""
    device = _need(b, command.device)
    b.set(
        s.device, device.number, override_fen_per_piece=command.per_piece_fen, override_fen_per_day=command.per_day_fen
    )
    say_scope(b, device.number, json.loads(device.documents))
    return {}


def revoke(b: Batch, command: c.DeviceRevoke) -> dict[str, Any]:
    """The device may do nothing any more; what it still delivers is parked (E31).

    Whoever revokes a number means the device in somebody's hand: one that changed its key meanwhile is stopped under its new number too.
    """
    numbers = numbers_since(b, _need(b, command.device))
    for device in numbers:
        _end(b, device)
    return {"stopped": [device.number for device in numbers]}


def end_person(b: Batch, command: c.PersonEnd) -> dict[str, Any]:
    """Somebody left: he signs in nowhere any more, and what is still delivered in his name waits for a supervisor (E31).

    Raises:
        RefusedError: `person.unknown`.
    """
    person = b.row(s.person, command.person)
    if person is None:
        raise RefusedError("person.unknown", f"没有人员 {command.person} / there is no person {command.person}")
    b.set(s.person, command.person, ended_ms=person.ended_ms or b.now_ms)
    people_changed(b, command.person)
    return {}


def let_back(b: Batch, command: c.PersonBack) -> dict[str, Any]:
    """Whoever left at that instant signs in again where he did.

    Raises:
        RefusedError: `person.not_then`: he did not leave then, or is back already.
    """
    person = b.row(s.person, command.person)
    if person is None or person.ended_ms != command.ended_ms:
        raise RefusedError(
            "person.not_then", "他不是那时离开的，或已经回来 / he did not leave then, or is back already"
        )
    b.set(s.person, command.person, ended_ms=None)
    people_changed(b, command.person)
    return {}


def people_changed(b: Batch, person: str) -> None:
    """A person's name or PIN changed: the devices he may sign in on are told."""
    for device in b.conn.execute(select(s.device).where(s.device.c.revoked_ms.is_(None))).all():
        if person in json.loads(device.people):
            say_scope(b, device.number, json.loads(device.documents))


# --- below ------------------------------------------------------------------------------------------------------------------


def _end(b: Batch, device: Row[Any]) -> None:
    b.set(s.device, device.number, revoked_ms=device.revoked_ms or b.now_ms)
    b.store.ended.add(device.number)


def _open_wall(b: Batch, number: int, warehouse: str) -> None:
    document = open_warehouse(b, warehouse)
    b.admit(document, number, "warehouse")
    for name in CELLS:
        b.conn.execute(insert(st.cell).values(terminal=number, cell=name))
    waiting = select(st.task.c.order_id).where(
        st.task.c.source == "stock", st.task.c.status == "ready", st.task.c.warehouse == ""
    )
    for order_id in b.conn.execute(waiting.distinct()).scalars().all():
        put_in_warehouse(b, order_id)


def _next_number(b: Batch) -> int:
    number = int(get_meta(b.conn, "device_next", FIRST_DEVICE))
    if number > limits.DEVICE_NUMBER_MAX:
        raise RefusedError("enrol.numbers", "设备号已用完 / device numbers are used up")
    set_meta(b.conn, "device_next", number + 1)
    return number


def _told(b: Batch, number: int) -> dict[str, Any]:
    device = b.row(s.device, number)
    assert device is not None
    return {
        "number": number, "role": device.role, "organisation": device.organisation, "name": device.name,
        "server_number": b.server.number, "server_key": b.server.signer.public_key.hex(),
        "certificate": json.loads(device.certificate), "documents": [b.newest(device_document(number)), *json.loads(device.documents)],
        "people": json.loads(device.people),
    }  # fmt: skip


def _certificate(b: Batch, number: int, command: c.DeviceEnrol | c.DeviceRenumber, role: str, organisation: str) -> str:
    """What the server says of the device, signed by the server: `{"body": {...}, "signature": hex}`."""
    body = {
        "device": number, "public_key": command.public_key, "alg": command.alg, "role": role, "organisation": organisation,
        "server": b.server.number, "enrolled_ms": b.now_ms,
    }  # fmt: skip
    signature = b.server.signer.sign(b"nahuo certificate " + canonical_json(body))
    return canonical_json({"body": body, "signature": signature.hex()}).decode()


def _need(b: Batch, number: int) -> Any:
    device = b.row(s.device, number)
    if device is None:
        raise RefusedError("device.unknown", "没有这台设备 / there is no such device")
    return device
