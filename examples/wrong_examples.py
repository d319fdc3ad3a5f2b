"""Order files that are wrong on purpose, each in one way that shops really send: tests import them and read the message.

The name of a file says what is wrong with it. Written by make_examples.py.
"""

from __future__ import annotations

from pathlib import Path

ORDER_HEAD = (
    '"订单编号","买家会员名","总金额","订单状态","买家留言","收货人姓名","收货地址 ","联系手机",'
    '"订单付款时间 ","订单备注","宝贝总数量"'
)
DETAIL_HEAD = '"订单编号","标题","价格","购买数量","外部系统编号","商品属性","套餐信息","备注","订单状态","商家编码"'
PAID = "买家已付款，等待卖家发货"
GOOD_CODE = "国大_3F-315_P65_8821#"
PLAIN_HEAD = "order_no,product_code,colour,size,quantity,title,buyer,receiver_name,receiver_phone,receiver_address,message,memo,status"


def order_line(order_no: str, *, pieces: str = "1") -> str:
    """Return one order row; `order_no` stands as written."""
    receiver = '"王静","广东省 广州市 天河区 学府路1号","\'13700000001"'
    return f'{order_no},"tb1","99.00","{PAID}","",{receiver},"2026-11-20 01:02:03","","{pieces}"'


def detail_line(order_no: str, *, code: str = GOOD_CODE, quantity: str = "1", price: str = "99.00") -> str:
    """Return one detail row; `order_no` stands as written."""
    return f'{order_no},"针织开衫","{price}","{quantity}","{code}","颜色分类：黑色;尺码：M","","","{PAID}","{code}",'


def plain_line(order_no: str, *, code: str = GOOD_CODE, quantity: str = "1") -> str:
    """Return one row of the plain format."""
    return f"{order_no},{code},黑色,M,{quantity},针织开衫,tb1,王静,13700000001,广东省 广州市 天河区 学府路1号,,,paid"


def write_wrong_examples(out: Path) -> None:
    """Write them all into `out`."""
    out.mkdir(parents=True, exist_ok=True)

    def export(name: str, *lines: str, encoding: str = "gbk") -> None:
        (out / name).write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))

    numbers = [f'="35128800000000010{n:02d}"' for n in range(1, 20)]
    export("good-ExportOrderList.csv", ORDER_HEAD, order_line(numbers[1]), order_line(numbers[2]))
    export("good-ExportOrderDetailList.csv", DETAIL_HEAD, detail_line(numbers[1]), detail_line(numbers[2]))

    (out / "empty.csv").write_bytes(b"")
    export("header-only-ExportOrderList.csv", ORDER_HEAD)
    (out / "not-a-table.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x01\x00")
    export("utf16-ExportOrderList.csv", ORDER_HEAD, order_line(numbers[1]), encoding="utf-16")
    export("no-order-number-column-ExportOrderList.csv", ORDER_HEAD.replace("订单编号", "编号"), order_line(numbers[1]))
    export(
        "no-quantity-column-ExportOrderDetailList.csv", DETAIL_HEAD.replace("购买数量", "件"), detail_line(numbers[1])
    )
    export("unknown-columns.csv", "foo,bar,baz", "1,2,3")
    # A spreadsheet opened the export and saved it: the long number is lost for good.
    export("spreadsheet-number-ExportOrderList.csv", ORDER_HEAD, order_line('"3.51288E+18"'))
    export("spreadsheet-number-ExportOrderDetailList.csv", DETAIL_HEAD, detail_line('"3.51288E+18"'))
    export(
        "line-of-unknown-order-ExportOrderDetailList.csv", DETAIL_HEAD, detail_line(numbers[1]), detail_line(numbers[9])
    )
    export("order-without-lines-ExportOrderDetailList.csv", DETAIL_HEAD, detail_line(numbers[1]))
    export("counts-differ-ExportOrderList.csv", ORDER_HEAD, order_line(numbers[1], pieces="3"), order_line(numbers[2]))
    bad_codes = (
        "",
        "8821#",
        "国大_8821#",
        "国大_3F-315_8821#",
        "国大_3F-315_P0_8821#",
        "国大_3F-315_P-5_8821#",
        "国大_3F-315_P99999_8821#",
    )
    export(
        "bad-codes-ExportOrderDetailList.csv",
        DETAIL_HEAD,
        *(detail_line(numbers[n], code=code) for n, code in enumerate(bad_codes, start=1)),
    )
    export(
        "bad-codes-ExportOrderList.csv", ORDER_HEAD, *(order_line(numbers[n]) for n, _ in enumerate(bad_codes, start=1))
    )
    quantities = ("0", "-1", "1.5", "two", "100000")
    export(
        "bad-quantities-plain.csv",
        PLAIN_HEAD,
        *(plain_line(f"Q{n}", quantity=text) for n, text in enumerate(quantities)),
        encoding="utf-8",
    )
    export(
        "bad-codes-plain.csv",
        PLAIN_HEAD,
        *(plain_line(f"C{n}", code=text) for n, text in enumerate(bad_codes)),
        encoding="utf-8",
    )
    export("short-row-plain.csv", PLAIN_HEAD, plain_line("S1"), "S2,国大_3F-315_P65_8821#", encoding="utf-8")
