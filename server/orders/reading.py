"""Order files -> orders: the Taobao pair (orders and their lines in two files), or the plain CSV of the documentation.

A wrong file, a missing column, an unknown order or a lost number refuses everything: half an import is worse than none. A bad product
code stops only its order, which is stored and waits for a better code. Rules R7, R31, R33, R38, R62, D23.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from server.orders.model import (
    OrderFileError,
    OrderFiles,
    OrderStatus,
    Problem,
    Receiver,
    ShopLine,
    ShopOrder,
)
from server.orders.table import Row, Table, is_spreadsheet_number, read_table
from trade.product_code import ProductCodeError, read_product_code

COPIES_MAX: Final = 500
"""Above this a keyed quantity is a slip; the largest honest order has some forty pieces."""

ORDER_NO: Final = ("订单编号", "订单号", "主订单编号")
QUANTITY: Final = ("购买数量", "宝贝数量", "数量")
LIST_ONLY: Final = ("收货人姓名", "宝贝总数量", "买家会员名")
ADDRESS: Final = ("收货地址", "收货人地址", "修改后的收货地址")
CODES: Final = ("商家编码", "外部系统编号")
ATTRIBUTES: Final = ("商品属性", "销售属性")
PLAIN_NEEDED: Final = ("order_no", "product_code", "quantity")

_ATTRIBUTE: Final = re.compile(r"[:：]")
_COLOURS: Final = ("颜色分类", "颜色", "主要颜色")
_SIZES: Final = ("尺码", "尺寸", "鞋码", "大小")

_PLAIN_STATUS: Final[dict[str, OrderStatus]] = {
    "": "paid", "paid": "paid", "refunding": "refunding", "closed": "closed", "unpaid": "unpaid", "shipped": "shipped",
}  # fmt: skip


def read_order_files(files: Sequence[tuple[str, bytes]]) -> OrderFiles:
    """Return the orders of some files, (name, bytes) each: one Taobao pair, or plain files.

    Raises:
        OrderFileError: with every problem found; nothing may be stored then.
    """
    tables = [read_table(name, data) for name, data in files]
    plain = [table for table in tables if set(PLAIN_NEEDED[:2]) & set(table.headings)]
    if plain and len(plain) == len(tables):
        return _read_plain(tables)
    details = [table for table in tables if _find(table, QUANTITY) and not _is_order_list(table)]
    lists = [table for table in tables if _is_order_list(table)]
    others = [table for table in tables if table not in details and table not in lists]
    if others:
        raise _file_error(others[0], *_what_is_missing(others[0]))
    if not lists:
        raise _file_error(
            tables[0], "orders.list_missing", "缺少订单文件", "the file with the orders is missing",
            "请把 ExportOrderList 和 ExportOrderDetailList 一起选上", "choose ExportOrderList and ExportOrderDetailList together",
        )  # fmt: skip
    if not details:
        raise _file_error(
            tables[0], "orders.details_missing", "缺少宝贝明细文件", "the file with the order lines is missing",
            "请把 ExportOrderList 和 ExportOrderDetailList 一起选上", "choose ExportOrderList and ExportOrderDetailList together",
        )  # fmt: skip
    return _read_pair(lists, details)


# --- the Taobao pair ------------------------------------------------------------------------------------------------------


def _read_pair(lists: Sequence[Table], details: Sequence[Table]) -> OrderFiles:
    fatal: list[Problem] = []
    soft: list[Problem] = []
    lines: dict[str, list[ShopLine]] = {}
    places: dict[str, tuple[Table, Row]] = {}
    closed_lines: set[str] = set()
    for table in details:
        number_column = _need(table, ORDER_NO)
        quantity_column = _need(table, QUANTITY)
        for row in table.rows:
            order_no = _order_no(table, row, number_column, fatal)
            if order_no is None:
                continue
            # Exports of overlapping periods, chosen together: an order is whole in the first file that names it.
            if places.setdefault(order_no, (table, row))[0] is not table:
                continue
            if _status(row["订单状态"]) == "closed":
                closed_lines.add(order_no)
                continue
            line = _line(table, row, quantity_column, len(lines.get(order_no, ())) + 1, fatal)
            if line is not None:
                lines.setdefault(order_no, []).append(line)
    orders: list[ShopOrder] = []
    seen: set[str] = set()
    for table in lists:
        number_column = _need(table, ORDER_NO)
        for row in table.rows:
            order_no = _order_no(table, row, number_column, fatal)
            if order_no is None or order_no in seen:
                continue
            seen.add(order_no)
            status = _status(row["订单状态"])
            own = lines.get(order_no, [])
            if status in ("paid", "refunding") and not own and order_no not in closed_lines:
                fatal.append(_problem(
                    table, row, number_column, "orders.no_lines", f"订单 {order_no} 没有明细", f"order {order_no} has no lines",
                    "两个文件请用同一时间段导出", "export both files for the same period",
                ))  # fmt: skip
                continue
            _check_count(table, row, order_no, own, soft, whole=order_no not in closed_lines)
            orders.append(_order(row, order_no, status, own))
    for order_no, (table, row) in places.items():
        if order_no not in seen:
            fatal.append(_problem(
                table, row, "订单编号", "orders.unknown_order", f"订单 {order_no} 不在订单文件里",
                f"order {order_no} is not in the file of orders",
                "两个文件请用同一时间段导出", "export both files for the same period",
            ))  # fmt: skip
    if not orders and not fatal:
        raise _file_error(lists[0], "orders.empty", "没有订单", "there are no orders", "请重新导出", "export it again")
    return _finish(orders, fatal, soft, "taobao")


def _order(row: Row, order_no: str, status: OrderStatus, lines: list[ShopLine]) -> ShopOrder:
    address = row["修改后的收货地址"] or row["收货地址"] or row["收货人地址"]
    return ShopOrder(
        order_no=order_no,
        status=status,
        buyer=row["买家会员名"][:60],
        message=_text(row["买家留言"]),
        remark=_text(row["订单备注"]),
        receiver=Receiver(name=row["收货人姓名"], phone=row["联系手机"] or row["联系电话"], address=address),
        lines=tuple(lines),
    )


def _check_count(
    table: Table, row: Row, order_no: str, lines: list[ShopLine], soft: list[Problem], *, whole: bool
) -> None:
    said = row["宝贝总数量"]
    found = sum(line.copies for line in lines)
    if whole and said.isdigit() and found and int(said) != found:
        soft.append(_problem(
            table, row, "宝贝总数量", "orders.counts_differ", f"订单 {order_no} 写着 {said} 件，明细有 {found} 件",
            f"order {order_no} says {said} pieces, its lines have {found}",
            "以明细为准；请核对导出", "the lines were taken; check the export",
        ))  # fmt: skip


def _line(table: Table, row: Row, quantity_column: str, number: int, fatal: list[Problem]) -> ShopLine | None:
    copies = _copies(table, row, quantity_column, fatal)
    if copies is None:
        return None
    attributes = _attributes(row["商品属性"] or row["销售属性"])
    refund = " ".join((row["退款状态"], row["订单状态"], row["售后状态"]))
    return ShopLine(
        line=str(number),
        title=_text(row["标题"] or row["宝贝标题"]),
        code=row["商家编码"] or row["外部系统编号"],
        colour=_first(attributes, _COLOURS)[:60],
        size=_first(attributes, _SIZES)[:60],
        copies=copies,
        price_fen=_fen(row["价格"]),
        refund_asked=_is_refunding(refund),
        file=table.name,
        row=row.number,
    )


def _attributes(text: str) -> dict[str, str]:
    """`颜色分类：米色;尺码：L` -> {颜色分类: 米色, 尺码: L}."""
    found = {}
    for part in re.split(r"[;；]", text):
        name, *rest = _ATTRIBUTE.split(part, maxsplit=1)
        if rest:
            found[name.strip()] = rest[0].strip()
    return found


def _status(text: str) -> OrderStatus:
    """The shop's words, of which commas and halves vary."""
    if _is_refunding(text):
        return "refunding"
    if "关闭" in text:
        return "closed"
    if "等待买家付款" in text or "未付款" in text:
        return "unpaid"
    if "卖家已发货" in text or "交易成功" in text or "已签收" in text:
        return "shipped"
    return "paid"


def _is_refunding(text: str) -> bool:
    return ("退款中" in text or "退款待处理" in text or "申请退款" in text or "退货退款" in text) and "关闭" not in text


# --- the plain format -------------------------------------------------------------------------------------------------------


def _read_plain(tables: Sequence[Table]) -> OrderFiles:
    fatal: list[Problem] = []
    rows: dict[str, list[tuple[Table, Row]]] = {}
    for table in tables:
        for needed in PLAIN_NEEDED:
            _need(table, (needed,))
        for row in table.rows:
            order_no = _order_no(table, row, "order_no", fatal)
            if order_no is not None and (order_no not in rows or rows[order_no][0][0] is table):
                rows.setdefault(order_no, []).append((table, row))
    orders = []
    for order_no, group in rows.items():
        table, row = group[0]
        status = _PLAIN_STATUS.get(row["status"].lower())
        if status is None:
            fatal.append(_problem(
                table, row, "status", "orders.status", f"状态 {row['status'][:20]} 不认识", f"the status {row['status'][:20]} is unknown",
                "请写 paid、refunding、closed、unpaid 或 shipped", "write paid, refunding, closed, unpaid or shipped",
            ))  # fmt: skip
            continue
        lines: list[ShopLine] = []
        for at, one in group:
            copies = _copies(at, one, "quantity", fatal)
            if copies is not None:
                lines.append(ShopLine(
                    line=str(len(lines) + 1), title=_text(one["title"]), code=one["product_code"], colour=one["colour"][:60],
                    size=one["size"][:60], copies=copies, price_fen=_fen(one["price"]), refund_asked=False, file=at.name,
                    row=one.number,
                ))  # fmt: skip
        receiver = Receiver(name=row["receiver_name"], phone=row["receiver_phone"], address=row["receiver_address"])
        orders.append(ShopOrder(
            order_no=order_no, status=status, buyer=row["buyer"][:60], message=_text(row["message"]), remark=_text(row["memo"]),
            receiver=receiver, lines=tuple(lines),
        ))  # fmt: skip
    if not orders and not fatal:
        raise _file_error(
            tables[0], "orders.empty", "没有订单", "there are no orders", "请填写后再导入", "fill it in and try again"
        )
    return _finish(orders, fatal, [], "plain")


# --- both -------------------------------------------------------------------------------------------------------------------


def _finish(orders: list[ShopOrder], fatal: list[Problem], soft: list[Problem], name: str) -> OrderFiles:
    if fatal:
        raise OrderFileError(fatal)
    for order in orders:
        if order.status in ("paid", "refunding"):
            soft += [problem for line in order.lines if (problem := code_problem(line)) is not None]
    return OrderFiles(orders=tuple(orders), problems=tuple(soft), format="taobao" if name == "taobao" else "plain")


def code_problem(line: ShopLine) -> Problem | None:
    """Return why a line's product code cannot be read, or None."""
    try:
        read_product_code(line.code)
    except ProductCodeError as error:
        return Problem(
            code=error.code, file=line.file, row=line.row, column="商家编码", zh=error.zh, en=error.en, fix_zh=error.fix,
            fix_en=error.fix_en,
        )  # fmt: skip
    return None


def _order_no(table: Table, row: Row, column: str, fatal: list[Problem]) -> str | None:
    text = row[column]
    if is_spreadsheet_number(text):
        fatal.append(_problem(
            table, row, column, "orders.spreadsheet_number", f"订单编号成了 {text}，位数已丢失",
            f"the order number became {text}: its digits are lost",
            "文件被表格软件另存过；请重新导出，不要打开再保存", "a spreadsheet saved this file: export it again and do not open it",
        ))  # fmt: skip
        return None
    if not text or len(text) > 60:
        fatal.append(_problem(
            table, row, column, "orders.no_number", "没有订单编号", "there is no order number", "请补上或删去这一行",
            "fill it in or remove the row",
        ))  # fmt: skip
        return None
    return text


def _copies(table: Table, row: Row, column: str, fatal: list[Problem]) -> int | None:
    text = row[column]
    if text.isascii() and text.isdigit() and 1 <= int(text) <= COPIES_MAX:
        return int(text)
    fatal.append(_problem(
        table, row, column, "orders.quantity", f"数量不对：{text[:20] or '空'}", f"the quantity is wrong: {text[:20] or 'empty'}",
        f"请写 1 到 {COPIES_MAX} 的整数", f"write a whole number from 1 to {COPIES_MAX}",
    ))  # fmt: skip
    return None


def _fen(text: str) -> int:
    """Yuan as text -> fen; what is no price is 0: the shop's own price decides nothing here."""
    try:
        value = Decimal(text.replace("元", "").replace(",", "").strip() or "0")
    except InvalidOperation:
        return 0
    return int(value * 100) if value.is_finite() and 0 <= value < 10_000_000 else 0


def _need(table: Table, names: Sequence[str]) -> str:
    found = _find(table, names)
    if found is None:
        raise _file_error(
            table, "orders.column", f"缺少列「{names[0]}」", f"the column {names[0]} is missing",
            "请用原样导出的文件，不要改表头", "use the file as it was exported, with its headings",
        )  # fmt: skip
    return found


def _find(table: Table, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.headings), None)


def _is_order_list(table: Table) -> bool:
    return sum(name in table.headings for name in LIST_ONLY) >= 2


def _what_is_missing(table: Table) -> tuple[str, str, str, str, str]:
    if _find(table, ORDER_NO) or _find(table, CODES):
        return (
            "orders.column", f"缺少列「{QUANTITY[0]}」", f"the column {QUANTITY[0]} is missing",
            "请用原样导出的文件，不要改表头", "use the file as it was exported, with its headings",
        )  # fmt: skip
    return (
        "orders.columns_unknown", "不认识这些列", "these columns are of no order file we know",
        "请用店铺后台的 ExportOrderList / ExportOrderDetailList，或文档里的通用 CSV",
        "use the shop's ExportOrderList and ExportOrderDetailList, or the plain CSV of the documentation",
    )  # fmt: skip


def _file_error(table: Table, code: str, zh: str, en: str, fix_zh: str, fix_en: str) -> OrderFileError:
    problem = Problem(code=code, file=table.name, row=0, column="", zh=zh, en=en, fix_zh=fix_zh, fix_en=fix_en)
    return OrderFileError([problem])


def _problem(table: Table, row: Row, column: str, code: str, zh: str, en: str, fix_zh: str, fix_en: str) -> Problem:
    return Problem(
        code=code, file=table.name, row=row.number, column=column, zh=zh, en=en, fix_zh=fix_zh, fix_en=fix_en
    )


def _first(values: dict[str, str], names: Sequence[str]) -> str:
    pick: Callable[[str], str] = lambda name: values.get(name, "")  # noqa: E731
    return next((found for found in map(pick, names) if found), "")


def _text(text: str) -> str:
    return " ".join(text.split())[:600]
