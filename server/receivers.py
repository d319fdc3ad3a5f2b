"""Buyers' receivers: sealed under a key per parcel, shown masked, forgotten by deleting the key (D18).

Nothing but this module sees a receiver in clear. The same seal stands in the order's row and in the warehouse's document; a terminal
opens it with the parcel's key. Seal: base64 of nonce (12 bytes) + AES-256-GCM of JSON {name, phone, address}.
"""

from __future__ import annotations

import base64
import json
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, select, update

from server import schema_trade as st
from server.orders.model import Receiver
from server.rows import add, change_by_key, row_by_key
from sync_core.payload import canonical_json

NONCE_BYTES = 12


def keep_receiver(conn: Connection, order: str, parcel: str, receiver: Receiver) -> None:
    """Seal a receiver into its order's row, under the parcel's key (made now if there is none)."""
    key = _key(conn, parcel) or _new_key(conn, parcel)
    sealed = seal_receiver(key, receiver)
    shown = {"receiver_shown": masked(receiver), "address_ok": int(receiver.complete), "region": receiver.region}
    change_by_key(conn, st.shop_order, order, {"receiver_sealed": sealed.encode(), **shown})


def is_kept(conn: Connection, order: str, parcel: str, receiver: Receiver) -> bool:
    """True when this very receiver is kept for the order."""
    key, sealed = _key(conn, parcel), sealed_receiver(conn, order)
    return key is not None and bool(sealed) and open_receiver(key, sealed) == receiver


def sealed_receiver(conn: Connection, order: str) -> str:
    """Return the seal as it stands in the warehouse's document."""
    row = row_by_key(conn, st.shop_order, order)
    return "" if row is None or row.receiver_sealed is None else bytes(row.receiver_sealed).decode()


def parcel_keys(conn: Connection, parcels: list[str]) -> dict[str, str]:
    """Return {parcel: key in hex} of those parcels that still have one."""
    k = st.parcel_key.c
    rows = conn.execute(select(k.parcel, k.key).where(k.parcel.in_(parcels), k.purged_ms.is_(None)))
    return {row.parcel: bytes(row.key).hex() for row in rows}


def purge_keys(conn: Connection, *, shipped_before_ms: int, now_ms: int) -> int:
    """Forget the receivers of parcels that shipped before then; returns how many."""
    p, k = st.parcel.c, st.parcel_key.c
    old = select(p.id).where(p.shipped_ms.is_not(None), p.shipped_ms < shipped_before_ms)
    done = conn.execute(
        update(st.parcel_key).where(k.parcel.in_(old), k.purged_ms.is_(None)).values(key=b"", purged_ms=now_ms)
    )
    orders = select(p.order_id).where(p.shipped_ms.is_not(None), p.shipped_ms < shipped_before_ms)
    conn.execute(
        update(st.shop_order).where(st.shop_order.c.id.in_(orders)).values(receiver_sealed=None, receiver_shown="")
    )
    return int(done.rowcount)


def seal_receiver(key: bytes, receiver: Receiver) -> str:
    """Return the seal of a receiver under a key of 32 bytes."""
    nonce = os.urandom(NONCE_BYTES)
    clear = canonical_json({"name": receiver.name, "phone": receiver.phone, "address": receiver.address})
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, clear, None)).decode()


def open_receiver(key: bytes, sealed: str) -> Receiver:
    """Return the receiver of a seal; a wrong key raises cryptography's InvalidTag."""
    data = base64.b64decode(sealed)
    clear = json.loads(AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], None))
    return Receiver(name=clear["name"], phone=clear["phone"], address=clear["address"])


def masked(receiver: Receiver) -> str:
    """Return what lists show: `王* 138****4321 广东`."""
    name = receiver.name[:1] + "*" if receiver.name else ""
    phone = f"{receiver.phone[:3]}****{receiver.phone[-4:]}" if len(receiver.phone) >= 8 else ""
    return " ".join(part for part in (name, phone, receiver.region) if part)


def _key(conn: Connection, parcel: str) -> bytes | None:
    row = row_by_key(conn, st.parcel_key, parcel)
    return None if row is None or row.purged_ms is not None else bytes(row.key)


def _new_key(conn: Connection, parcel: str) -> bytes:
    key = os.urandom(32)
    add(conn, st.parcel_key, {"parcel": parcel, "key": key})
    return key
