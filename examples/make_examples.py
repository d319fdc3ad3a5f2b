"""Write the example order files of this folder: real order shapes, synthetic stalls.

How many orders come on a day and how many pieces each has is read from `order_shapes.csv` (CDNOW, March 1997; see README.md).
Markets, stalls, styles, prices, buyers and addresses are made up here from a seed: the same seed gives the same bytes.
Amounts are whole fen inside and written as yuan, as the shops' exports do.

    python examples/make_examples.py                                    the committed files, again
    python examples/make_examples.py --orders 500 --seed 7 --out DIR    another morning
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import io
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wrong_examples import write_wrong_examples

HERE = Path(__file__).resolve().parent
SEED = 20261120
SHAPE_DAY = "1997-03-21"
SHOP = ("512006887", "小满女装")
OPENED = dt.datetime(2026, 11, 19, 18, 0)
"""Business day 2026-11-20 of these markets starts at 18:00 the evening before (D22)."""

PAID = "买家已付款，等待卖家发货"
REFUNDING = "退款中"
CLOSED = "交易关闭"
UNPAID = "等待买家付款"

# The columns of the shop's classic export, in its order, trailing spaces included.
ORDER_COLUMNS = (
    "订单编号", "买家会员名", "买家支付宝账号", "买家应付货款", "买家应付邮费", "买家支付积分", "总金额", "返点积分",
    "买家实际支付金额", "买家实际支付积分", "订单状态", "买家留言", "收货人姓名", "收货地址 ", "运送方式", "联系电话 ", "联系手机",
    "订单创建时间", "订单付款时间 ", "宝贝标题 ", "宝贝种类 ", "物流单号 ", "物流公司", "订单备注", "宝贝总数量", "店铺Id", "店铺名称",
    "订单关闭原因", "卖家服务费", "买家服务费", "发票抬头", "是否手机订单", "分阶段订单信息", "特权订金订单id", "定金排名",
    "修改后的sku", "修改后的收货地址", "异常信息", "天猫卡券抵扣", "退款金额",
)  # fmt: skip
DETAIL_COLUMNS = (
    "订单编号", "标题", "价格", "购买数量", "外部系统编号", "商品属性", "套餐信息", "备注", "订单状态", "商家编码",
)  # fmt: skip
PLAIN_COLUMNS = (
    "order_no", "product_code", "colour", "size", "quantity", "title", "buyer", "receiver_name", "receiver_phone",
    "receiver_address", "message", "memo", "status",
)  # fmt: skip

# Market, floor, first door, distance between doors, aisle letters.
FLOORS = (
    ("国大", "B1", 201, 2, "AB"), ("国大", "1F", 101, 3, "AB"), ("国大", "2F", 206, 4, "CD"), ("国大", "3F", 303, 4, "CD"),
    ("女人街", "B1", 21, 2, "E"), ("女人街", "1F", 112, 5, "EF"),
)  # fmt: skip
STALLS_PER_FLOOR = 10
NAMES_FIRST = [
    "晨",
    "禾",
    "予",
    "芷",
    "南",
    "栖",
    "初",
    "木",
    "白",
    "青",
    "云",
    "时",
    "末",
    "森",
    "蔓",
    "苏",
    "安",
    "织",
    "简",
    "茉",
]
NAMES_LAST = ("禾", "里", "屿", "衣坊", "衣舍", "制衣", "服饰", "女装", "针织", "牛仔")
# Kind, lowest and highest quote in yuan.
GARMENTS = (
    ("雪纺连衣裙", 45, 98), ("针织开衫", 38, 75), ("加绒卫衣", 35, 69), ("高腰牛仔裤", 42, 85), ("百褶半身裙", 30, 62),
    ("法式衬衫", 33, 70), ("短款羽绒服", 98, 168), ("打底衫", 15, 32), ("西装外套", 62, 128), ("阔腿裤", 34, 66),
    ("圆领T恤", 16, 35), ("慵懒毛衣", 45, 92), ("针织马甲", 28, 55), ("双面呢大衣", 128, 238),
)  # fmt: skip
COLOURS = ("黑色", "白色", "奶白", "杏色", "浅灰", "藏青", "卡其", "豆绿", "酒红", "粉色")
SIZES = (("S", "M", "L"), ("S", "M", "L", "XL"), ("均码",))
TROUSER_SIZES = ("26", "27", "28", "29", "30")
SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡林郭何高罗"
GIVEN = (
    "婷", "静", "敏", "丽", "娟", "燕", "霞", "玲", "雪", "佳怡", "雨涵", "思琪", "梦瑶", "欣怡", "晓彤", "诗涵", "若曦", "一诺",
)  # fmt: skip
PLACES = (
    ("广东省", "广州市", "天河区", "510630"), ("广东省", "深圳市", "南山区", "518052"), ("浙江省", "杭州市", "余杭区", "311121"),
    ("浙江省", "宁波市", "鄞州区", "315100"), ("江苏省", "南京市", "江宁区", "211100"), ("江苏省", "苏州市", "吴中区", "215100"),
    ("上海", "上海市", "浦东新区", "200120"), ("北京", "北京市", "朝阳区", "100020"), ("四川省", "成都市", "武侯区", "610041"),
    ("湖北省", "武汉市", "洪山区", "430070"), ("湖南省", "长沙市", "岳麓区", "410006"), ("山东省", "青岛市", "市北区", "266000"),
    ("河南省", "郑州市", "金水区", "450000"), ("福建省", "厦门市", "思明区", "361004"), ("陕西省", "西安市", "雁塔区", "710061"),
)  # fmt: skip
REMOTE_PLACES = (
    ("新疆维吾尔自治区", "乌鲁木齐市", "沙依巴克区", "830000"), ("西藏自治区", "拉萨市", "城关区", "850000"),
    ("青海省", "西宁市", "城西区", "810000"), ("内蒙古自治区", "呼和浩特市", "赛罕区", "010020"),
)  # fmt: skip
ROADS = ("人民路", "解放路", "中山路", "建设路", "环市东路", "学府路", "滨江大道", "和平街")
ESTATES = ("阳光花园", "锦绣苑", "翠湖小区", "金色家园", "世纪城", "万科里")
MESSAGES = (
    "请去掉吊牌，谢谢", "送人的，麻烦检查一下线头", "周六要穿，请尽快发", "颜色要深一点的那批", "不要放价格单", "如果没有M就发L，谢谢",
)  # fmt: skip
MEMOS = ("老客户，送小卡片", "买家要求与另一单同发", "赠品：发圈", "上次少发，这次补一双袜子")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A door in a market, and how long it takes its goods back."""

    market: str
    floor: str
    door: str
    name: str
    aisle: str
    returns_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a stall sells under one style number."""

    title: str
    code: str
    retail_fen: int
    colours: tuple[str, ...]
    sizes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an order."""

    style: Style
    colour: str
    size: str
    quantity: int
    status: str
    codes_in: str
    """Where the seller keeps the product code: `both`, `seller` (商家编码) or `outer` (外部系统编号)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where the parcel goes; `masked` as newer exports show it."""

    name: str
    phone: str
    address: str
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order of the shop's export."""

    order_no: str
    buyer: str
    receiver: Receiver
    created: dt.datetime
    paid: dt.datetime | None
    status: str
    message: str
    memo: str
    postage_fen: int
    lines: tuple[Line, ...]

    @property
    def goods_fen(self) -> int:
        """Retail price of all lines."""
        return sum(line.style.retail_fen * line.quantity for line in self.lines)


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Return the order sizes of each real day: {date: [pieces, …]}, one number an order."""
    shapes: dict[str, list[int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            shapes.setdefault(row["date"], []).extend([int(row["pieces"])] * int(row["orders"]))
    return shapes


def make_stalls(rng: random.Random) -> list[Stall]:
    """Return the synthetic stalls of two markets."""
    stalls, names = [], set[str]()
    for market, floor, first, distance, aisles in FLOORS:
        for place in range(STALLS_PER_FLOOR):
            name = ""
            while not name or name in names:
                name = rng.choice(NAMES_FIRST) + rng.choice(NAMES_FIRST) + rng.choice(NAMES_LAST)
            names.add(name)
            aisle = aisles[place * len(aisles) // STALLS_PER_FLOOR]
            days = rng.choice((3, 7, 7, 7, 15))
            door = str(first + place * distance)
            stalls.append(Stall(market=market, floor=floor, door=door, name=name, aisle=aisle, returns_days=days))
    return stalls


def make_styles(rng: random.Random, stalls: Sequence[Stall]) -> list[Style]:
    """Return three to six styles a stall, in an order in which the first sell most."""
    styles = []
    for stall in stalls:
        for _ in range(rng.randint(3, 6)):
            garment, low, high = rng.choice(GARMENTS)
            half_yuan = rng.randint(low * 2, high * 2)
            quote = f"P{half_yuan // 2}" if half_yuan % 2 == 0 else f"P{half_yuan // 2}.5"
            number = (
                f"{rng.randint(1000, 9999)}#" if rng.random() < 0.8 else f"{rng.choice('ABKM')}{rng.randint(100, 999)}#"
            )
            code = f"{stall.market}_{stall.floor}-{stall.door}_{quote}_{number}"
            if rng.random() < 0.04:
                code = code.replace("#", "＃").replace("F-", "Ｆ-")  # typed with a Chinese input method on
            retail_yuan = round(half_yuan / 2 * rng.uniform(1.7, 2.3)) + 9
            styles.append(
                Style(
                    title=f"{rng.choice(('2026秋冬新款', '韩版宽松', '法式复古', '小个子', '显瘦百搭'))}{garment}女",
                    code=code,
                    retail_fen=retail_yuan * 100,
                    colours=tuple(rng.sample(COLOURS, rng.randint(2, 4))),
                    sizes=TROUSER_SIZES if "裤" in garment else rng.choice(SIZES),
                )
            )
    rng.shuffle(styles)
    return styles


def make_orders(rng: random.Random, sizes: Sequence[int], styles: Sequence[Style]) -> list[Order]:
    """Return one order a size, in order of creation, with the share of refunds, notes and masked receivers that shops see."""
    weights = [1 / (rank + 3) ** 0.7 for rank in range(len(styles))]
    seconds = sorted(rng.randrange(15 * 3600) for _ in sizes)
    orders: list[Order] = []
    serial = rng.randrange(10**6)
    for size, second in zip(sizes, seconds, strict=True):
        serial += rng.randint(1, 97)
        created = OPENED + dt.timedelta(seconds=second)
        kind = rng.random()
        status = REFUNDING if kind < 0.025 else CLOSED if kind < 0.035 else UNPAID if kind < 0.045 else PAID
        lines = make_lines(rng, size, styles, weights, status)
        buyer, receiver = f"tb{rng.randrange(10**7, 10**9)}", make_receiver(rng)
        paid = None if status == UNPAID else created + dt.timedelta(seconds=rng.randint(5, 900))
        postage_fen = rng.choice((0, 0, 0, 600))
        before = orders[-1] if orders else None
        if before and before.paid and status == PAID and rng.random() < 0.05:
            # Two orders paid at once (合并付款): one buyer, one receiver, one moment, postage on the first only.
            buyer, receiver, paid, postage_fen = before.buyer, before.receiver, before.paid, 0
            created = min(created, paid - dt.timedelta(seconds=2))
        orders.append(
            Order(
                order_no=f"{3_512_880_000 + serial:010d}{rng.randrange(10**5):05d}{int(buyer[-4:]):04d}",
                buyer=buyer,
                receiver=receiver,
                created=created,
                paid=paid,
                status=CLOSED if status == CLOSED else UNPAID if status == UNPAID else PAID,
                message=rng.choice(MESSAGES) if rng.random() < 0.05 else "",
                memo=rng.choice(MEMOS) if rng.random() < 0.04 else "",
                postage_fen=postage_fen,
                lines=lines,
            )
        )
    return orders


def make_lines(
    rng: random.Random, pieces: int, styles: Sequence[Style], weights: Sequence[float], status: str
) -> tuple[Line, ...]:
    """Return lines that hold `pieces` garments together; now and then one line of several is being refunded."""
    lines: list[Line] = []
    while pieces:
        quantity = min(pieces, rng.choices((1, 2, 3), weights=(85, 12, 3))[0])
        style = rng.choices(styles, weights=weights)[0]
        codes_in = rng.choices(("both", "seller", "outer"), weights=(70, 20, 10))[0]
        line = Line(
            style=style, colour=rng.choice(style.colours), size=rng.choice(style.sizes), quantity=quantity, status=status, codes_in=codes_in
        )  # fmt: skip
        lines.append(line)
        pieces -= quantity
    if len(lines) > 1 and status == PAID and rng.random() < 0.06:
        lines[-1] = replace(lines[-1], status=REFUNDING)
    return tuple(lines)


def make_receiver(rng: random.Random) -> Receiver:
    """Return a made-up receiver; one in twelve is masked, one in twenty-five far away."""
    province, city, district, post_code = rng.choice(REMOTE_PLACES if rng.random() < 0.04 else PLACES)
    estate = f"{rng.choice(ROADS)}{rng.randint(1, 399)}号{rng.choice(ESTATES)}"
    door = f"{rng.randint(1, 18)}栋{rng.randint(1, 3)}单元{rng.randint(2, 30)}0{rng.randint(1, 4)}室"
    name = rng.choice(SURNAMES) + rng.choice(GIVEN)
    phone = f"{rng.choice(('137', '138', '139', '158', '186'))}{rng.randrange(10**8):08d}"
    if rng.random() < 1 / 12:
        return Receiver(
            name=name[0] + "**",
            phone=f"{phone[:3]}****{phone[-4:]}",
            address=f"{province} {city} {district} ****",
            masked=True,
        )
    return Receiver(name=name, phone=phone, address=f"{province} {city} {district} {estate}{door}({post_code})")


def yuan(amount_fen: int) -> str:
    """`12050` -> `120.50`."""
    return f"{amount_fen // 100}.{amount_fen % 100:02d}"


def as_export(columns: Sequence[str], rows: Iterable[dict[str, str]], *, tail: str) -> bytes:
    """Return the bytes of a shop export: GBK, every field quoted, order numbers as `="…"`, lines ended by `tail`."""
    text = io.StringIO()
    text.write(",".join(f'"{column}"' for column in columns) + "\r\n")
    for row in rows:
        cells = []
        for column in columns:
            quoted = '"' + row.get(column, "").replace('"', '""') + '"'
            cells.append("=" + quoted if column in {"订单编号", "特权订金订单id"} else quoted)
        text.write(",".join(cells) + tail + "\r\n")
    return text.getvalue().encode("gbk")


def order_rows(orders: Iterable[Order]) -> Iterable[dict[str, str]]:
    """Yield the ExportOrderList row of each order."""
    for order in orders:
        total_fen = order.goods_fen + order.postage_fen
        yield {
            "订单编号": order.order_no, "买家会员名": order.buyer, "买家支付宝账号": "", "买家应付货款": yuan(order.goods_fen),
            "买家应付邮费": yuan(order.postage_fen), "买家支付积分": "0", "总金额": yuan(total_fen), "返点积分": "0",
            "买家实际支付金额": "0.00" if order.paid is None else yuan(total_fen), "买家实际支付积分": "0", "订单状态": order.status,
            "买家留言": order.message, "收货人姓名": order.receiver.name, "收货地址 ": order.receiver.address, "运送方式": "快递",
            "联系电话 ": "", "联系手机": "'" + order.receiver.phone, "订单创建时间": str(order.created),
            "订单付款时间 ": "" if order.paid is None else str(order.paid), "宝贝标题 ": "，".join(x.style.title for x in order.lines),
            "宝贝种类 ": str(len(order.lines)), "订单备注": order.memo, "宝贝总数量": str(sum(x.quantity for x in order.lines)),
            "店铺Id": SHOP[0], "店铺名称": SHOP[1], "订单关闭原因": "买家退款" if order.status == CLOSED else "订单未关闭",
            "卖家服务费": "0", "买家服务费": "0元", "是否手机订单": "手机订单", "退款金额": "0.00",
        }  # fmt: skip


def detail_rows(orders: Iterable[Order]) -> Iterable[dict[str, str]]:
    """Yield the ExportOrderDetailList row of each line."""
    for order in orders:
        for line in order.lines:
            yield {
                "订单编号": order.order_no, "标题": line.style.title, "价格": yuan(line.style.retail_fen), "购买数量": str(line.quantity),
                "外部系统编号": "" if line.codes_in == "seller" else line.style.code,
                "商品属性": f"颜色分类：{line.colour};尺码：{line.size}",
                "订单状态": line.status, "商家编码": "" if line.codes_in == "outer" else line.style.code,
            }  # fmt: skip


def plain_rows(orders: Iterable[Order]) -> Iterable[dict[str, str]]:
    """Yield the rows of the plain format (README.md of this folder), one a line."""
    words = {PAID: "paid", REFUNDING: "refunding", CLOSED: "closed", UNPAID: "unpaid"}
    for order in orders:
        for line in order.lines:
            yield {
                "order_no": order.order_no, "product_code": line.style.code, "colour": line.colour, "size": line.size,
                "quantity": str(line.quantity), "title": line.style.title, "buyer": order.buyer, "receiver_name": order.receiver.name,
                "receiver_phone": order.receiver.phone, "receiver_address": order.receiver.address, "message": order.message,
                "memo": order.memo, "status": words[line.status],
            }  # fmt: skip


def as_csv(columns: Sequence[str], rows: Iterable[dict[str, str]]) -> bytes:
    """Return plain UTF-8 CSV with a byte order mark, as spreadsheets want it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def write_examples(out: Path, *, seed: int, count: int | None) -> list[Order]:
    """Write the order files into `out`; `count` None takes the very orders' sizes of one real day."""
    rng = random.Random(seed)
    shapes = read_shapes(HERE / "order_shapes.csv")
    sizes = (
        shapes[SHAPE_DAY] if count is None else rng.choices([size for day in shapes.values() for size in day], k=count)
    )
    rng.shuffle(sizes)
    stalls = make_stalls(rng)
    orders = make_orders(rng, sizes, make_styles(rng, stalls))
    plain = make_orders(rng, rng.choices(shapes[SHAPE_DAY], k=24), make_styles(rng, stalls))
    out.mkdir(parents=True, exist_ok=True)
    (out / "ExportOrderList-2026-11-20.csv").write_bytes(as_export(ORDER_COLUMNS, order_rows(orders), tail=""))
    (out / "ExportOrderDetailList-2026-11-20.csv").write_bytes(as_export(DETAIL_COLUMNS, detail_rows(orders), tail=","))
    (out / "plain-orders.csv").write_bytes(as_csv(PLAIN_COLUMNS, plain_rows(plain)))
    stall_rows = [
        {
            "market": s.market,
            "floor": s.floor,
            "stall": s.door,
            "name": s.name,
            "aisle": s.aisle,
            "returns_days": str(s.returns_days),
        }
        for s in stalls
    ]
    (out / "stalls.csv").write_bytes(as_csv(("market", "floor", "stall", "name", "aisle", "returns_days"), stall_rows))
    write_wrong_examples(out / "wrong")
    return orders


def main() -> None:
    """Write the files and say what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--orders", type=int, default=None, help=f"how many; default: those of {SHAPE_DAY}")
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args()
    orders = write_examples(chosen.out, seed=chosen.seed, count=chosen.orders)
    pieces = sum(line.quantity for order in orders for line in order.lines)
    print(f"{len(orders)} orders, {pieces} pieces, seed {chosen.seed}, in {chosen.out}")


if __name__ == "__main__":
    main()
