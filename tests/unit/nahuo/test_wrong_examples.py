"""Each wrong order file of examples/wrong is refused with its own code, and says file, row and fix; nothing of it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.orders import OrderFileError, read_order_files

WRONG = Path(__file__).resolve().parents[3] / "examples" / "wrong"
LIST, DETAIL = "good-ExportOrderList.csv", "good-ExportOrderDetailList.csv"


def files(*names: str) -> list[tuple[str, bytes]]:
    """Return (name, bytes) of each."""
    return [(name, (WRONG / name).read_bytes()) for name in names]


def test_the_good_pair_is_good() -> None:
    assert len(read_order_files(files(LIST, DETAIL)).orders) == 2


@pytest.mark.parametrize(
    ("names", "code", "row"),
    [
        (("empty.csv",), "orders.empty", 0),
        (("not-a-table.csv",), "orders.encoding", 0),
        (("unknown-columns.csv",), "orders.columns_unknown", 0),
        ((LIST,), "orders.details_missing", 0),
        ((DETAIL,), "orders.list_missing", 0),
        (("no-order-number-column-ExportOrderList.csv", DETAIL), "orders.column", 0),
        ((LIST, "no-quantity-column-ExportOrderDetailList.csv"), "orders.column", 0),
        ((LIST, "line-of-unknown-order-ExportOrderDetailList.csv"), "orders.unknown_order", 3),
        ((LIST, "order-without-lines-ExportOrderDetailList.csv"), "orders.no_lines", 3),
        (("spreadsheet-number-ExportOrderList.csv", DETAIL), "orders.spreadsheet_number", 2),
        ((LIST, "spreadsheet-number-ExportOrderDetailList.csv"), "orders.spreadsheet_number", 2),
        (("bad-quantities-plain.csv",), "orders.quantity", 2),
        (("short-row-plain.csv",), "orders.quantity", 3),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
def test_a_wrong_file_is_refused_with_its_reason_r38(names: tuple[str, ...], code: str, row: int) -> None:
    with pytest.raises(OrderFileError) as refused:
        read_order_files(files(*names))
    problem = next(one for one in refused.value.problems if one.code == code)
    assert problem.row == row
    assert problem.file in names
    assert problem.zh
    assert problem.en
    assert problem.fix_zh
    assert problem.fix_en


def test_every_bad_quantity_is_named() -> None:
    with pytest.raises(OrderFileError) as refused:
        read_order_files(files("bad-quantities-plain.csv"))
    assert [problem.row for problem in refused.value.problems] == [2, 3, 4, 5, 6]


def test_a_bad_code_stops_only_its_order_r62() -> None:
    found = read_order_files(files("bad-codes-ExportOrderList.csv", "bad-codes-ExportOrderDetailList.csv"))
    assert len(found.orders) == 7
    assert [problem.row for problem in found.problems] == [2, 3, 4, 5, 6, 7, 8]
    assert all(problem.code.startswith("product_code.") and problem.fix_en for problem in found.problems)


def test_counts_that_differ_are_told_and_taken() -> None:
    found = read_order_files(files("counts-differ-ExportOrderList.csv", DETAIL))
    assert [problem.code for problem in found.problems] == ["orders.counts_differ"]
    assert len(found.orders) == 2


def test_an_export_saved_as_unicode_is_read() -> None:
    only = files("utf16-ExportOrderList.csv")[0]
    detail = (DETAIL, b"".join((WRONG / DETAIL).read_bytes().splitlines(keepends=True)[:2]))
    assert len(read_order_files([only, detail]).orders) == 1


@pytest.mark.parametrize("again", [(DETAIL,), (LIST, DETAIL)], ids=["details", "pair"])
def test_r4_an_order_in_two_files_is_wanted_once(again: tuple[str, ...]) -> None:
    """Two exports of overlapping periods, chosen together: an order's lines are those of the first file that names it."""
    once = read_order_files(files(LIST, DETAIL))
    twice = read_order_files([*files(LIST, DETAIL), *((f"later-{name}", data) for name, data in files(*again))])
    assert (twice.orders, twice.problems) == (once.orders, once.problems)


def test_r4_a_plain_order_in_two_files_is_wanted_once() -> None:
    head = "order_no,product_code,quantity,receiver_name,receiver_phone,receiver_address,status"
    row = "A1,国大_3F-315_P65_8821#,2,王静,13700000001,广东省 广州市 天河区 学府路1号,paid"
    data = f"{head}\n{row}\n{row}\n".encode()
    found = read_order_files([("one.csv", data), ("two.csv", data)])
    assert [sum(line.copies for line in order.lines) for order in found.orders] == [4], "two lines of one file"
