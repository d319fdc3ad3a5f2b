"""An order as a shop's file gives it, and what can be wrong with the file. Amounts are whole fen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sync_core.errors import RefusedError

OrderStatus = Literal["paid", "refunding", "closed", "unpaid", "shipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and how to mend it. `row` counts from 1 with the heading; 0: the file itself."""

    code: str
    file: str
    row: int
    column: str
    zh: str
    en: str
    fix_zh: str
    fix_en: str

    def as_json(self) -> dict[str, Any]:
        """The problem as outcomes and pages show it."""
        return {
            "code": self.code, "file": self.file, "row": self.row, "column": self.column,
            "zh": self.zh, "en": self.en, "fix_zh": self.fix_zh, "fix_en": self.fix_en,
        }  # fmt: skip

    def __str__(self) -> str:
        where = f"{self.file} 第 {self.row} 行 {self.column}".rstrip() if self.row else self.file
        return f"{where}：{self.zh}；{self.fix_zh} / {self.en}; {self.fix_en}"


class OrderFileError(RefusedError):
    """The files cannot be taken; nothing was stored. `problems` says everything that is wrong."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].code, str(problems[0]))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where the parcel goes; masked or missing parts make it unusable for a waybill, not for picking."""

    name: str = ""
    phone: str = ""
    address: str = ""

    @property
    def complete(self) -> bool:
        """True when a courier can deliver: nothing missing, nothing masked."""
        return all(part and "*" not in part for part in (self.name, self.phone, self.address))

    @property
    def region(self) -> str:
        """The province, as fee tables name it: `新疆`, `内蒙古`, `广东`."""
        head = self.address.strip()
        return head[:3] if head.startswith(("内蒙古", "黑龙江")) else head[:2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopLine:
    """One order line; `row` is its row in `file`, for messages."""

    line: str
    title: str
    code: str
    colour: str
    size: str
    copies: int
    price_fen: int
    refund_asked: bool
    file: str
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopOrder:
    """One order with its lines."""

    order_no: str
    status: OrderStatus
    buyer: str
    message: str
    remark: str
    receiver: Receiver
    lines: tuple[ShopLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFiles:
    """What some files hold: orders in file order, and problems of single lines that do not stop the rest."""

    orders: tuple[ShopOrder, ...]
    problems: tuple[Problem, ...]
    format: Literal["taobao", "plain"]
