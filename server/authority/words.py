"""What a discrepancy or a notice says, in both languages, by its code. Names in braces are filled in where it is opened."""

from __future__ import annotations

from typing import Final

Words = tuple[str, str]
"""Chinese, English."""

DISCREPANCIES: Final[dict[str, Words]] = {
    "adopted_differs": (
        "手机后来说的与认领的不一致（件 {code}），请核对任务和账目",
        "the lost phone's own word differs from what was adopted (piece {code}): check its task and postings",
    ),
    "adopted_spoke": (
        "认领过的件 {code}，原手机后来交了记录；原裁定不变",
        "the phone of the adopted piece {code} spoke after all; the verdict stands",
    ),
    "authority_failed": (
        "系统处理这条记录时出错，需要技术人员",
        "the authority failed on this envelope: {error}",
    ),
    "bagged_not_in_stock": (
        "装袋的件不在库存（{place}）",
        "bagged, but it was not in stock ({place})",
    ),
    "bagged_unknown": (
        "装袋了不认识的件",
        "a piece nobody knows was bagged",
    ),
    "bought_though_seen": (
        "手机已显示召回仍然购买，归平台",
        "bought although the phone had shown the recall: the platform's",
    ),
    "claim": (
        "商家要求补差 {short_fen} 分",
        "the merchant claims {short_fen} fen",
    ),
    "device_damaged": (
        "设备 {device} 的文件损坏，改用 {new} 号；救回 {saved} 个标签，可能缺 {count} 个：{missing}。扫到货袋会自动列为无主件",
        "the file of device {device} was damaged, it goes on as {new}; {saved} labels saved, {count} may be missing: {missing}. "
        "Their bags turn up at scan-in as orphans",
    ),
    "drawn_unknown": (
        "取用了不认识的库存件",
        "a piece nobody knows was drawn from stock",
    ),
    "drawn_unwanted": (
        "为不再需要的订单取了库存",
        "drawn for an order that no longer wants it",
    ),
    "foreign_piece": (
        "退件里有不认识的衣服",
        "the return holds a garment nobody knows",
    ),
    "order_changed": (
        "订单 {order_no} 再次导入时内容不同，未改动已有订单",
        "order {order_no} came again with other content; ours was not changed",
    ),
    "orphan": (
        "标签 {code} 一天内没有手机能说明来历",
        "no phone explained the label {code} within a day",
    ),
    "over_cap": (
        "超过上限 {excess_fen} 分，暂由平台承担",
        "{excess_fen} fen above the cap: the platform's until the merchant accepts",
    ),
    "parcel_held": (
        "没有快递单号可用",
        "there is no waybill number left",
    ),
    "parked": (
        "已停用的设备（或已离开的人）、或离线太久、超出离线额度的设备送来记录，等主管确认",
        "a revoked device, one of somebody who left, or one offline too long or beyond its quota delivered work: a supervisor decides",
    ),
    "piece_code_twice": (
        "件码 {code} 用了两次",
        "the piece code {code} was used twice",
    ),
    "price_raised": (
        "改价后超出冻结 {platform_fen} 分，由平台承担",
        "the corrected price is {platform_fen} fen above what was held: the platform bears it",
    ),
    "shipped_after_refund": (
        "档口已退款的件，订单 {order_no} 的包裹却说装了它：请核对实物",
        "its stall had paid for it, and the parcel of order {order_no} is said to hold it: look which garment left",
    ),
    "refunded_twice": (
        "件 {code} 退了两次款",
        "the piece {code} was refunded twice",
    ),
    "return_unmatched": (
        "退件 {courier_no} 对不上订单，放在 {shelf_zh}",
        "the return {courier_no} matches no order; it lies at {shelf_en}",
    ),
    "bagged_but_sold": (
        "装袋的件已卖出并打包：从袋中取出",
        "bagged although it was sold and packed: pull it from the bag",
    ),
    "sold_but_bagged": (
        "卖出的件已装袋给退货员：为买家另拿一件",
        "sold although it was bagged for the runner: pick another for the buyer",
    ),
    "closed_unseen": (
        "{because_zh}",
        "{because_en}",
    ),
    "schema.newer": (
        "设备 {device} 用了更新的版本（{kind}），请升级服务器",
        "device {device} speaks a newer version ({kind}): update this server",
    ),
    "void": (
        "设备 {device} 说了它不能说的（{kind}，{reason}）",
        "device {device} said what it may not say ({kind}, {reason})",
    ),
    "shipped_though_stopped": (
        "订单 {order_no} 已要求停止，仍发出",
        "order {order_no} was shipped although the terminal had been told to stop",
    ),
    "shipped_before_stop": (
        "订单 {order_no} 的停止要求到达前已发出",
        "order {order_no} had shipped before the stop could arrive",
    ),
    "second_piece": (
        "同一件买了两次，{code} 归平台，等去处",
        "bought twice: {code} is the platform's and looks for a home",
    ),
    "shipped_unknown": (
        "发出了不认识的包裹",
        "a parcel nobody knows was shipped",
    ),
    "work_failed": (
        "系统自己要做的一件事出错（{work}），已放在一边，其他照常；需要技术人员。标为已处理后会再试一次",
        "our bug in {work}: {error}. It is set aside and the rest goes on; marked as dealt with, it is tried again",
    ),
    "wallet_short": (
        "余额不足以重新冻结：{excess_fen} 分由平台承担",
        "the wallet could not cover what was to be frozen again: {excess_fen} fen are the platform's",
    ),
    "shipped_voided": (
        "用作废的面单 {waybill_no} 发出",
        "shipped under the void number {waybill_no}",
    ),
    "stall_refused": (
        "档口不退款：{then_zh}",
        "no money from the stall: {then_en}",
    ),
    "task_recovered": (
        "恢复备份后设备手里有备份里没有的订单 {order_no}，请重新导入",
        "after a restore a device holds the order {order_no}, which the backup lacks: import it again",
    ),
    "undone_but_scanned": (
        "手机撤销了这件，但仓库已收到实物",
        "the phone took this purchase back, yet the garment was scanned in",
    ),
    "unknown_task": (
        "提到了不存在的任务",
        "speaks of a task nobody knows",
    ),
    "verdict_recovered": (
        "恢复备份后，设备带回的原裁定与新裁定不同，请核对账目",
        "after a restore a device returned a verdict that differs from the one made since: check its postings",
    ),
    "waybill_twice": (
        "恢复备份后，面单号 {number} 又给了另一个包裹，两个都可能已发出，请联系快递",
        "after a restore the number {number} was given to another parcel too, and this one has left under it: tell the courier",
    ),
}
NOTICES: Final[dict[str, Words]] = {
    "delisted": (
        "已下架的款 {style} 还有未拿的件 {task}",
        "the delisted style {style} is still wanted: {task}",
    ),
    "closed_after_bought": (
        "关闭前已拿货，这件成了您的库存",
        "it was bought before you closed: the piece is your stock now",
    ),
    "closed_taken_back": (
        "关闭后记成您库存的这件，拿货员撤销了：没有买，货款和佣金退回",
        "the piece that became your stock at the close was a slip: nothing was bought, its price and commission go back",
    ),
    "closed_unseen": (
        "{because_zh}",
        "{because_en}",
    ),
    "return_unfit": (
        "退件不合格：{reason}",
        "the return is not fit: {reason}",
    ),
    "stall_refused": (
        "档口不退（{reason_zh}）：{then_zh}",
        "the stall refused ({reason_en}): {then_en}",
    ),
    "address_needed": (
        "订单 {order_no} 收件信息不完整，包裹等地址",
        "order {order_no}: the receiver is masked or missing, its parcel waits",
    ),
    "answer_overruled": (
        "已有人买到，无货记录保留为观察",
        "somebody bought it: the answer is kept as an observation",
    ),
    "answer_too_late": (
        "任务已撤回，回答保留为观察",
        "the task was withdrawn before: the answer is kept as an observation",
    ),
}

CLOSED_BECAUSE: Final[dict[str, Words]] = {
    "bought_first": ("先拿货、后关闭：这件成了您的库存", "bought first, closed after: the piece is your stock now"),
    "neither_knew": (
        "关闭时手机没信号，已拿货：这件成了您的库存",
        "the phone had no signal when it was closed: the piece is your stock now",
    ),
    "page_was_open": (
        "召回到达时拿货页面已打开：这件成了您的库存",
        "the recall came while the buy page was open: the piece is your stock now",
    ),
}
"""By what the phone knew, not by clocks (E1, E2)."""

AFTER_REFUSAL: Final[dict[str, Words]] = {
    "keep_trying": ("再去试", "the runner tries again"),
    "bring_back": ("带回仓库", "it comes back to the warehouse"),
    "left_at_stall": ("留在档口，没有退款", "left at the stall without money"),
    "written_off": ("核销", "written off"),
}
