"""Where waybill numbers come from: a port, and the courier that leases ranges of them.

A number is never made up (E17): without one the parcel waits with the reason. Rules R52, D17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from sqlalchemy import Connection, bindparam, select

from server import schema_trade as st
from server.rows import change_by_key, insert_once, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Waybill:
    """A number with what the label prints beside it."""

    number: str
    courier: str
    three_part_code: str
    bag_place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWaybill:
    """Why there is none."""

    reason: Literal["no_number", "courier_refuses"]


class WaybillSource(Protocol):
    """Obtains and voids numbers, inside the writer's transaction."""

    def obtain(self, conn: Connection, *, parcel: str, courier: str, region: str, now_ms: int) -> Waybill | NoWaybill:
        """Return a number for a parcel."""
        ...

    def void(self, conn: Connection, number: str, now_ms: int) -> None:
        """Cancel a number; it is never used again."""
        ...


_R = st.courier_range.c
_ANY_RANGE: Final = select(st.courier_range).where(_R.next <= _R.last).order_by(_R.id).limit(1)
_RANGE_OF: Final = _ANY_RANGE.where(_R.courier == bindparam("courier_"))


class LeasedRanges:
    """Couriers that sell ranges: the next number of the oldest range that has one."""

    def obtain(self, conn: Connection, *, parcel: str, courier: str, region: str, now_ms: int) -> Waybill | NoWaybill:
        """Return the next number of a range; `courier` empty: of any courier."""
        while True:
            row = read(conn, _RANGE_OF, courier_=courier).first() if courier else read(conn, _ANY_RANGE).first()
            if row is None:
                return NoWaybill(reason="no_number")
            change_by_key(conn, st.courier_range, row.id, {"next": row.next + 1})
            number = f"{row.prefix}{row.next:0{row.digits}d}"
            taken = {"number": number, "courier": row.courier, "parcel": parcel, "obtained_ms": now_ms}
            # A number that a lost server gave out after the backup is known already.
            if insert_once(conn, st.waybill, taken):
                break
        code = row.three_part_code or f"{region}-{row.next % 900 + 100}-{row.next % 90 + 10:02d}"
        return Waybill(number=number, courier=row.courier, three_part_code=code, bag_place=row.bag_place or region)

    def void(self, conn: Connection, number: str, now_ms: int) -> None:
        """Cancel a number."""
        change_by_key(conn, st.waybill, number, {"voided_ms": now_ms})
