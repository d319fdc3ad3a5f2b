"""Names for what pages would else show as bare ids: devices, people, merchants, stalls, documents, accounts, and what a row is about.

A page reads them once, with its rows, and its template asks. Every answer is total: what this server does not know keeps the id it came
with, for an id says more than nothing. Labels, order numbers, waybills and courier numbers are what a person types or scans: they stay.
Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from server import schema as s
from server import schema_trade as st
from trade.ids import bare_id, ids_of
from trade.walk import read_stall_id

Row = Mapping[str, Any]

_HOUSE = {
    "platform": ("平台", "the platform"),
    "warehouse": ("仓库", "the warehouse"),
    "server": ("服务器", "the server"),
}
"""Owners that are no merchant."""

_ACCOUNTS = {
    "outside": ("外部（银行、档口）", "outside: banks, stalls"),
    "platform:commission": ("平台 · 佣金", "platform · commission"),
    "platform:check": ("平台 · 验货费", "platform · checks"),
    "platform:courier": ("平台 · 快递费", "platform · courier"),
    "platform:packing": ("平台 · 打包费", "platform · packing"),
    "platform:goods": ("平台 · 货款", "platform · goods"),
    "company": ("公司钱包", "company wallet"),
}
_PURSES = {"available": ("可用", "available"), "held": ("冻结", "held")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What is called how, in `lang`."""

    lang: str
    devices: Mapping[int, str] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)
    merchants: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Row] = field(default_factory=dict)
    """{subject: the columns its name is made of}."""

    def device(self, number: object) -> str:
        """A device by its name; `设备 3` when it has none."""
        if isinstance(number, int) and number == 0:
            return self.owner("server")
        name = self.devices.get(number) if isinstance(number, int) else None
        return name or self._t(f"设备 {number}", f"device {number}")

    def person(self, person: str) -> str:
        """A person by his name."""
        return self.people.get(person) or person

    def owner(self, owner: str) -> str:
        """A merchant by his name; the platform and the warehouse by their word."""
        return self._t(*_HOUSE[owner]) if owner in _HOUSE else self.merchants.get(owner) or owner

    def stall(self, stall_id: str) -> str:
        """`stall:国大/3F/315` -> `国大 3F 315`."""
        place = read_stall_id(stall_id)
        if place is None:
            return stall_id.removeprefix("stall:")
        return _spaced(place.market, place.floor, place.stall)

    def account(self, account: str) -> str:
        """`merchant:M1:held` -> `小满女装 · 冻结`."""
        kind, _, rest = account.partition(":")
        if kind == "merchant":
            merchant, _, purse = rest.rpartition(":")
            return f"{self.owner(merchant)} · {self._t(*_PURSES.get(purse, (purse, purse)))}"
        if kind == "float":
            return f"{self.person(rest)} · {self._t('备用金', 'cash float')}"
        if kind == "stall":
            return f"{self._t('档口', 'stall')} {self.stall(account)}"
        return self._t(*_ACCOUNTS.get(account, (account, account)))

    def subject(self, subject: str, *, within_order: bool = False) -> str:
        """What a fact, notice or discrepancy is about: `订单 880001 第 2 件 · 国大 3F 315 · 8821# 奶白 M`.

        `within_order`: on an order's own page, where its number stands already and places stand beside the lines.
        """
        kind, bare = subject.partition(":")[0], bare_id(subject)
        row = self.told.get(subject, {})
        order_no = "" if within_order else str(row.get("order_no") or "")
        order = f"{self._t('订单', 'order')} {order_no}" if order_no else ""
        garment = _spaced(row.get("style"), row.get("colour"), row.get("size"))
        match kind:
            case "device":
                return self.device(int(bare)) if bare.isascii() and bare.isdigit() else bare
            case "stall":
                return self.stall(subject)
            case "order":
                return order or (self._t("本单", "this order") if row else bare)
            case "task" if row:
                number = self._t(f"第 {row['piece_no']} 件", f"piece {row['piece_no']}") if row.get("piece_no") else ""
                place = "" if within_order else _spaced(row["market"], row["floor"], row["stall"])
                return _dotted(_spaced(order, number), place, garment)
            case "piece":
                place = self.stall(str(row["stall_id"])) if row.get("stall_id") and not within_order else ""
                return _dotted(bare, place, garment)
            case "parcel" if row:
                waybill = _spaced(self._t("面单", "waybill"), row["waybill_no"]) if row["waybill_no"] else ""
                return _dotted(order, waybill) or self._t("包裹", "the parcel")
            case "return":
                return f"{self._t('退件', 'return')} {bare}"
            case _:
                return bare or subject

    def document(self, document: str) -> str:
        """`route/2026-11-29-100` -> `11-29 · 阿梅的手机`; what is named otherwise keeps its name."""
        bare = document.partition("/")[2]
        day, _, number = bare.rpartition("-")
        known = number.isascii() and number.isdigit() and int(number) in self.devices
        return _dotted(day[5:] or "", self.device(int(number))) if known else bare or document

    def _t(self, zh: str, en: str) -> str:
        return zh if self.lang == "zh" else en


def read_names(conn: Connection, lang: str, subjects: Iterable[str] = ()) -> Names:
    """Return all devices', people's and merchants' names, and those of `subjects`."""
    d, p, m = s.device.c, s.person.c, st.merchant.c
    return Names(
        lang=lang,
        devices={int(row[0]): str(row[1]) for row in conn.execute(select(d.number, d.name)) if row[1]},
        people={str(row[0]): str(row[1]) for row in conn.execute(select(p.id, p.name)) if row[1]},
        merchants={str(row[0]): str(row[1]) for row in conn.execute(select(m.id, m.name)) if row[1]},
        told=_read_subjects(conn, list(dict.fromkeys(subjects))),
    )


def _read_subjects(conn: Connection, subjects: list[str]) -> dict[str, Row]:
    t, p, o, c, w = st.task.c, st.piece.c, st.shop_order.c, st.parcel.c, st.wanted.c
    of_task = (
        select(t.id, t.style, t.colour, t.size, t.market, t.floor, t.stall, o.order_no, w.piece_no)
        .select_from(
            st.task.join(st.shop_order, t.order_id == o.id, isouter=True).join(
                st.wanted, t.wanted == w.id, isouter=True
            )
        )
        .where(t.id.in_(ids_of(subjects, "task")))
    )
    of_piece = select(p.code, p.style, p.colour, p.size, p.stall_id).where(p.code.in_(ids_of(subjects, "piece")))
    of_order = select(o.id, o.order_no).where(o.id.in_(ids_of(subjects, "order")))
    of_parcel = (
        select(c.id, c.waybill_no, o.order_no)
        .select_from(st.parcel.join(st.shop_order, c.order_id == o.id, isouter=True))
        .where(c.id.in_(ids_of(subjects, "parcel")))
    )
    found: dict[str, Row] = {}
    for kind, query in (("task", of_task), ("piece", of_piece), ("order", of_order), ("parcel", of_parcel)):
        found |= {f"{kind}:{row[0]}": dict(row._mapping) for row in conn.execute(query)}
    return found


def _spaced(*words: object) -> str:
    return " ".join(str(word) for word in words if word)


def _dotted(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
