"""The templates a platform starts with: bag label, return label, waybill. It may replace them in its settings.

Sizes are those the trade buys: 40 x 30 mm gap labels for pieces, 100 x 150 mm for waybills. The fields each
one asks for are `template.fields()`; docs of the platform's settings page list them.
"""

from __future__ import annotations

from typing import Final

from printer.template import (
    BoxPlace,
    Code128Place,
    CopyMarkPlace,
    LabelTemplate,
    LinePlace,
    QrPlace,
    TextPlace,
)

PIECE_LABEL: Final = LabelTemplate(
    name="piece",
    width_mm=40,
    height_mm=30,
    elements=(
        # The stall is what the picker looks for, the cell what the sorter looks for: both large, both bold.
        TextPlace(x_mm=1, y_mm=1, width_mm=23, height_mm=4, text="{stall}", bold=True),
        TextPlace(x_mm=1, y_mm=5.5, width_mm=23, height_mm=3, text="{style}", lines=1),
        # Colour and size have a place each, so that a long colour cannot push the size out.
        TextPlace(x_mm=1, y_mm=9, width_mm=14.5, height_mm=3, text="{colour}", bold=True),
        TextPlace(x_mm=16, y_mm=9, width_mm=8, height_mm=3, text="{size}", bold=True, align="right"),
        TextPlace(x_mm=1, y_mm=12.5, width_mm=15, height_mm=2, text="单{order_tail} ￥{price}"),
        TextPlace(x_mm=1, y_mm=15, width_mm=14, height_mm=4, text="{cell}", bold=True, height_mm_min=3),
        TextPlace(x_mm=16, y_mm=15, width_mm=8, height_mm=4, text="{count}", bold=True, align="right"),
        QrPlace(x_mm=25, y_mm=1.5, size_mm=14, data="{qr}"),
        CopyMarkPlace(x_mm=36, y_mm=16, height_mm=2),
        Code128Place(x_mm=0, y_mm=20, width_mm=40, height_mm=9.5, data="{code}", readable=True),
    ),
)

RETURN_LABEL: Final = LabelTemplate(
    name="return",
    width_mm=40,
    height_mm=30,
    elements=(
        BoxPlace(x_mm=1, y_mm=1, width_mm=8, height_mm=8, thickness_mm=0.5),
        TextPlace(x_mm=2, y_mm=2, width_mm=6.5, height_mm=6, text="退", bold=True),
        TextPlace(x_mm=10, y_mm=1, width_mm=15, height_mm=4, text="{stall}", bold=True, lines=1),
        TextPlace(x_mm=10, y_mm=5.5, width_mm=15, height_mm=3, text="{style}"),
        TextPlace(x_mm=1, y_mm=10, width_mm=15.5, height_mm=3, text="{colour}", bold=True),
        TextPlace(x_mm=17, y_mm=10, width_mm=8, height_mm=3, text="{size}", bold=True, align="right"),
        TextPlace(x_mm=1, y_mm=13.5, width_mm=24, height_mm=3, text="{reason}"),
        TextPlace(x_mm=1, y_mm=17, width_mm=24, height_mm=2, text="单{order_tail} ￥{price} {trip}"),
        QrPlace(x_mm=26, y_mm=1.5, size_mm=13, data="{qr}"),
        CopyMarkPlace(x_mm=36, y_mm=16, height_mm=2),
        Code128Place(x_mm=0, y_mm=20, width_mm=40, height_mm=9.5, data="{code}", readable=True),
    ),
)

WAYBILL: Final = LabelTemplate(
    name="waybill",
    width_mm=100,
    height_mm=150,
    elements=(
        TextPlace(x_mm=4, y_mm=4, width_mm=60, height_mm=8, text="{courier}", bold=True, height_mm_min=4),
        CopyMarkPlace(x_mm=84, y_mm=4, height_mm=8),
        LinePlace(x_mm=2, y_mm=14, width_mm=96, height_mm=0.5),
        # The three-part code routes the parcel by hand at night: as large as the paper allows.
        TextPlace(
            x_mm=4,
            y_mm=16,
            width_mm=92,
            height_mm=12,
            text="{three_part_code}",
            bold=True,
            align="centre",
            height_mm_min=6,
        ),
        LinePlace(x_mm=2, y_mm=30, width_mm=96, height_mm=0.25),
        TextPlace(x_mm=4, y_mm=32, width_mm=60, height_mm=6, text="{bag_place}", bold=True, height_mm_min=3),
        TextPlace(x_mm=66, y_mm=32, width_mm=30, height_mm=6, text="{pieces}件", bold=True, align="right"),
        LinePlace(x_mm=2, y_mm=40, width_mm=96, height_mm=0.25),
        TextPlace(x_mm=4, y_mm=43, width_mm=8, height_mm=6, text="收", bold=True),
        TextPlace(x_mm=14, y_mm=42, width_mm=82, height_mm=4, text="{receiver_name} {receiver_phone}", bold=True),
        TextPlace(x_mm=14, y_mm=47.5, width_mm=82, height_mm=4, text="{receiver_address}", lines=4, height_mm_min=3),
        LinePlace(x_mm=2, y_mm=67, width_mm=96, height_mm=0.25),
        TextPlace(x_mm=4, y_mm=69, width_mm=8, height_mm=4, text="寄"),
        TextPlace(x_mm=14, y_mm=69, width_mm=82, height_mm=3, text="{sender_name} {sender_phone}"),
        TextPlace(x_mm=14, y_mm=73, width_mm=82, height_mm=3, text="{sender_address}"),
        LinePlace(x_mm=2, y_mm=78, width_mm=96, height_mm=0.5),
        Code128Place(x_mm=2, y_mm=81, width_mm=96, height_mm=24, data="{waybill}", module_dots_max=4),
        TextPlace(x_mm=4, y_mm=106, width_mm=92, height_mm=6, text="{waybill}", bold=True, align="centre"),
        LinePlace(x_mm=2, y_mm=115, width_mm=96, height_mm=0.25),
        TextPlace(x_mm=4, y_mm=118, width_mm=62, height_mm=3, text="订单 {order}"),
        TextPlace(x_mm=4, y_mm=123, width_mm=62, height_mm=3, text="{remark}", lines=4),
        TextPlace(x_mm=4, y_mm=143, width_mm=62, height_mm=3, text="{printed_at}"),
        QrPlace(x_mm=70, y_mm=119, size_mm=26, data="{waybill}"),
    ),
)

DEFAULT_TEMPLATES: Final = {template.name: template for template in (PIECE_LABEL, RETURN_LABEL, WAYBILL)}
