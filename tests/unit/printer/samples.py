"""Realistic long fields of a piece, a return and a parcel, and the labels they make."""

from __future__ import annotations

from typing import Final

from printer.default_templates import PIECE_LABEL, RETURN_LABEL, WAYBILL
from printer.label import Label
from printer.template import render_template

PIECE_FIELDS: Final = {
    "stall": "南城广场B区1楼-203",
    "style": "冰丝防晒衣韩版8812#",
    "colour": "香芋紫加厚升级版",
    "size": "XXL(建议130-150斤)",
    "order_tail": "88421",
    "price": "48.50",
    "cell": "A12-07",
    "count": "2/3",
    "code": "000010000017",
    "qr": "N1|000010000017|T20261122-000123|88421|2/3|A12-07|4850",
}
RETURN_FIELDS: Final = PIECE_FIELDS | {"reason": "色差，买家拒收", "trip": "退3车"}
WAYBILL_FIELDS: Final = {
    "courier": "中通快递",
    "three_part_code": "570-A12 03-881",
    "bag_place": "集包地：杭州转运中心",
    "pieces": "3",
    "receiver_name": "欧阳靖雯",
    "receiver_phone": "138****6672",
    "receiver_address": "浙江省杭州市余杭区五常街道文一西路969号西溪园区南门3号楼快递柜旁边放门卫室转交请电话联系勿放快递点",
    "sender_name": "小鹿家女装旗舰店（广州十三行代发仓）",
    "sender_phone": "020-81234567",
    "sender_address": "广东省广州市荔湾区十三行路新中国大厦B1",
    "waybill": "78812345678901",
    "order": "20261122-88421",
    "remark": "香芋紫/XXL×1，奶油白/M×2，请先验货",
    "printed_at": "2026-11-22 05:41",
}


def piece_label(code: str = "000010000017") -> Label:
    """Return a full bag label."""
    return render_template(PIECE_LABEL, PIECE_FIELDS | {"code": code, "qr": f"N1|{code}|T7|2/3"})


def return_label() -> Label:
    """Return a full return label."""
    return render_template(RETURN_LABEL, RETURN_FIELDS)


def waybill_label() -> Label:
    """Return a full waybill."""
    return render_template(WAYBILL, WAYBILL_FIELDS)
