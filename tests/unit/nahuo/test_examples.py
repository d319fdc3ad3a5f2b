"""The committed example files are what their generator writes, and hold what they promise."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trade.product_code import ProductCodeError, read_product_code

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
ORDERS = EXAMPLES / "ExportOrderList-2026-11-20.csv"
LINES = EXAMPLES / "ExportOrderDetailList-2026-11-20.csv"


def rows(path: Path, encoding: str = "gbk") -> list[dict[str, str]]:
    """Return the rows of a file, long numbers without their wrapping."""
    text = path.read_bytes().decode(encoding)
    found = list(csv.DictReader(io.StringIO(text)))
    return [
        {str(k): v[2:-1] if isinstance(v, str) and v.startswith('="') else v for k, v in row.items()} for row in found
    ]


def test_the_generator_writes_the_committed_bytes(tmp_path: Path) -> None:
    script = [sys.executable, str(EXAMPLES / "make_examples.py"), "--out", str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True, timeout=120)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.csv")}
    assert len(made) > 20
    for name, content in made.items():
        assert (EXAMPLES / name).read_bytes() == content, name
    kept = {path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.csv")} - {Path("order_shapes.csv")}
    assert kept == set(made)


def test_another_seed_makes_another_morning(tmp_path: Path) -> None:
    script = [
        sys.executable,
        str(EXAMPLES / "make_examples.py"),
        "--seed",
        "7",
        "--orders",
        "40",
        "--out",
        str(tmp_path),
    ]
    subprocess.run(script, check=True, capture_output=True, timeout=120)
    assert len(rows(tmp_path / ORDERS.name)) == 40
    assert (tmp_path / LINES.name).read_bytes() != LINES.read_bytes()


def test_the_pair_joins_and_adds_up() -> None:
    orders, lines = rows(ORDERS), rows(LINES)
    assert len(orders) >= 200
    pieces = Counter[str]()
    for line in lines:
        pieces[line["订单编号"]] += int(line["购买数量"])
    assert {order["订单编号"]: int(order["宝贝总数量"]) for order in orders} == dict(pieces)
    assert all(len(order["订单编号"]) == 19 for order in orders)


def test_order_sizes_are_those_of_a_real_day() -> None:
    with (EXAMPLES / "order_shapes.csv").open(encoding="utf-8") as file:
        shapes = list(csv.DictReader(line for line in file if not line.startswith("#")))
    real = {int(row["pieces"]): int(row["orders"]) for row in shapes if row["date"] == "1997-03-21"}
    assert Counter(int(order["宝贝总数量"]) for order in rows(ORDERS)) == real


def test_the_morning_holds_what_it_promises() -> None:
    orders, lines = rows(ORDERS), rows(LINES)
    paid_at_once = Counter((order["买家会员名"], order["订单付款时间 "]) for order in orders if order["订单付款时间 "])
    assert sum(count > 1 for count in paid_at_once.values()) >= 10
    assert sum(line["订单状态"] == "退款中" for line in lines) >= 10
    assert sum(bool(order["买家留言"]) for order in orders) >= 10
    assert sum(bool(order["订单备注"]) for order in orders) >= 10
    assert sum("*" in order["收货地址 "] for order in orders) >= 20
    assert sum(order["收货地址 "].startswith(("新疆", "西藏", "青海", "内蒙古")) for order in orders) >= 5
    assert sum(not line["商家编码"] for line in lines) >= 20
    assert sum(not line["外部系统编号"] for line in lines) >= 20


def test_every_code_names_a_listed_stall_d23() -> None:
    listed = {(row["market"], row["floor"], row["stall"]) for row in rows(EXAMPLES / "stalls.csv", "utf-8-sig")}
    codes = {line["商家编码"] or line["外部系统编号"] for line in rows(LINES)}
    codes |= {row["product_code"] for row in rows(EXAMPLES / "plain-orders.csv", "utf-8-sig")}
    assert any("＃" in code for code in codes)
    for text in codes:
        code = read_product_code(text)
        assert (code.market, code.floor, code.stall) in listed


def test_every_bad_code_is_bad() -> None:
    for row in rows(EXAMPLES / "wrong" / "bad-codes-plain.csv", "utf-8"):
        with pytest.raises(ProductCodeError):
            read_product_code(row["product_code"])
