"""The closed sets of the trade in Chinese and English, as pages show them, with the colour of their pill.

Pure. A word that is not known here is shown as it is: a newer server must not break an older page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Word(NamedTuple):
    """One word of a closed set: Chinese, English, and `go | wait | bad | way | ""` for its colour."""

    zh: str
    en: str
    colour: str = ""

    def said(self, lang: str) -> str:
        """The word in `zh` or `en`."""
        return self.zh if lang == "zh" else self.en


TASK_STATUS: Mapping[str, Word] = {
    "wanted": Word("待拿货", "wanted", "way"),
    "asked": Word("问价中", "price asked", "wait"),
    "bought": Word("已拿到", "bought", "go"),
    "answered": Word("缺货答复", "stall answered", "wait"),
    "bounced": Word("超价退回", "bounced", "bad"),
    "recalled": Word("召回中", "recalled", "wait"),
    "ended": Word("已结束", "ended"),
}

ORDER_STATUS: Mapping[str, Word] = {
    "held": Word("待处理", "on hold", "wait"),
    "money": Word("待充值", "waits for money", "bad"),
    "ready": Word("待派单", "ready", "way"),
    "out": Word("拿货中", "being picked", "way"),
    "shipped": Word("已发货", "shipped", "go"),
    "closed": Word("已关闭", "closed"),
}

WANTED_STATUS: Mapping[str, Word] = {
    "waiting": Word("未放行", "waiting", "wait"),
    "ready": Word("待派", "ready", "way"),
    "out": Word("拿货中", "out with a picker", "way"),
    "asked": Word("问价中", "price asked", "wait"),
    "answered": Word("缺货", "stall answered", "wait"),
    "bounced": Word("超价退回", "bounced", "bad"),
    "bought": Word("已拿到", "bought", "go"),
    "in": Word("已入仓", "in the warehouse", "go"),
    "shipped": Word("已发货", "shipped", "go"),
    "closing": Word("关闭中", "closing", "wait"),
    "closed": Word("已关闭", "closed"),
}

ATTEMPT_STATUS: Mapping[str, Word] = {
    "ready": Word("待派", "ready", "way"),
    "out": Word("待拿", "to buy", "way"),
    "recalled": Word("召回未答复", "recalled, no answer yet", "wait"),
    "answered": Word("缺货", "stall answered", "wait"),
    "asked": Word("问价中", "price asked", "wait"),
    "bounced": Word("超价退回", "bounced", "bad"),
    "bought": Word("已拿到", "bought", "go"),
    "ended": Word("已结束", "ended"),
}

DECISION: Mapping[str, Word] = {
    "answer": Word("档口没有货", "The stall did not sell it"),
    "bounce": Word("档口要价超过报价，已退回", "The stall's price is above your quote: sent back"),
    "ask": Word("档口要价超过报价，拿货员在等您", "The stall wants more than your quote; the picker waits"),
    "over_cap": Word("超出限价买下的件", "A piece bought above your cap"),
    "refund": Word("档口退款少于拿货价", "The stall gave back less than was paid"),
}

HOLD: Mapping[str, Word] = {
    "shipped": Word("店铺显示已发货", "the shop says it is shipped", "wait"),
    "refund": Word("买家申请退款", "refund asked", "bad"),
    "remote_area": Word("偏远地区", "remote area", "wait"),
    "message": Word("有留言待看", "a message to read", "wait"),
    "bad_code": Word("商品编码有误", "bad product code", "bad"),
    "stall_closed": Word("档口休息", "stall closed", "wait"),
    "too_old": Word("订单太旧", "too old", "wait"),
    "service_ended": Word("服务到期", "service ended", "bad"),
    "money": Word("余额不足", "not enough money", "bad"),
}

PIECE_PLACE: Mapping[str, Word] = {
    "wanted": Word("待拿", "wanted", "way"),
    "with_picker": Word("在拿货员手上", "with the picker", "go"),
    "inbound": Word("送仓途中", "on the way in", "way"),
    "in_cell": Word("已入仓格口", "in its cell", "go"),
    "packed": Word("已打包", "packed", "go"),
    "shipped": Word("已发货", "shipped", "go"),
    "in_stock": Word("在库存", "in stock", "go"),
    "return_in": Word("退件已收", "return received", "way"),
    "pending": Word("待处理区", "pending area", "wait"),
    "with_runner": Word("在退货员手上", "with the runner", "way"),
    "back_at_stall": Word("已退回档口", "back at the stall", "go"),
    "left_at_stall": Word("货款在档口未退", "paid, left at the stall", "wait"),
    "returned_to_buyer": Word("已寄回买家", "returned to the buyer"),
    "handed_to_merchant": Word("已交商家", "handed to the merchant"),
    "foreign": Word("非本平台", "foreign", "wait"),
    "lost": Word("遗失", "lost", "bad"),
    "written_off": Word("已核销", "written off"),
    "undone": Word("误点撤销", "undone"),
}

PARCEL_STATUS: Mapping[str, Word] = {
    "open": Word("待齐货", "waiting for pieces", "way"),
    "held": Word("面单暂缓", "waybill held", "wait"),
    "ready": Word("可打包", "ready to pack", "go"),
    "packed": Word("已打包", "packed", "go"),
    "printed": Word("面单已打印", "waybill printed", "go"),
    "shipped": Word("已发货", "shipped", "go"),
    "voided": Word("已作废", "voided", "bad"),
}

HELD_REASON: Mapping[str, Word] = {
    "address_needed": Word("缺收件人地址", "address needed", "wait"),
    "no_number": Word("没有可用的快递单号", "no waybill number to be had", "wait"),
    "courier_refuses": Word("快递不收该地区", "the courier refuses the area", "bad"),
}

ANSWER: Mapping[str, Word] = {
    "out_of_stock": Word("无货", "out of stock", "bad"),
    "this_afternoon": Word("下午有货", "this afternoon", "wait"),
    "tomorrow": Word("明天有货", "tomorrow", "wait"),
    "on_day": Word("某天有货", "on a date", "wait"),
    "unsure": Word("不确定", "unsure", "wait"),
    "variant_gone": Word("颜色/尺码没了", "colour or size gone", "bad"),
    "style_gone": Word("款式下架", "style gone", "bad"),
    "stall_closed": Word("档口没开", "stall closed", "wait"),
    "stall_wrong": Word("档口不对", "wrong stall", "bad"),
    "price_wrong": Word("价格不对", "price wrong", "bad"),
    "defective": Word("有瑕疵", "defective", "bad"),
}

MEANS: Mapping[str, Word] = {
    "cash": Word("现金", "cash"),
    "company": Word("公司钱包", "company wallet"),
    "tab": Word("挂账", "stall tab"),
    "credit": Word("档口余款", "stall credit"),
}

ROLE: Mapping[str, Word] = {
    "server": Word("服务器", "server"),
    "picker": Word("拿货员", "picker"),
    "runner": Word("退货员", "runner"),
    "warehouse": Word("仓库", "warehouse"),
    "admin": Word("管理员", "administrator"),
    "clerk": Word("客服", "clerk"),
    "merchant_owner": Word("商家", "merchant"),
    "merchant_clerk": Word("商家店员", "merchant's clerk"),
}

REFUSED_REASON: Mapping[str, Word] = {
    "smell": Word("有异味", "smell"),
    "tag_missing": Word("吊牌缺失", "tag missing"),
    "altered": Word("改动过", "altered"),
    "term_past": Word("过了退货期", "past the return term"),
    "price_fell": Word("档口降价", "price fell"),
    "denies": Word("档口不认", "the stall denies it"),
    "unfit": Word("不合格", "not fit"),
    "other": Word("其他", "other"),
}

RECALL: Mapping[str, Word] = {
    "closed": Word("订单关闭", "order closed"),
    "refund": Word("买家退款", "buyer's refund"),
    "reassigned": Word("改派别人", "given to another device"),
    "stall_changed": Word("换了档口", "another stall"),
    "delisted": Word("下架", "delisted"),
}

OUTCOME: Mapping[str, Word] = {
    "keeps": Word("归本单", "serves this order", "go"),
    "second": Word("重复购买", "second purchase", "wait"),
    "closed_unseen": Word("关单前手机未收到", "bought before the close was seen", "wait"),
    "closed_seen": Word("已见关单仍购买", "bought although the close was seen", "bad"),
    "over_cap": Word("超出限价", "above the cap", "bad"),
    "undone": Word("误点撤销", "undone"),
    "accepted": Word("采纳", "accepted", "go"),
    "overruled": Word("被购买推翻", "overruled: it was bought", "bad"),
    "too_late": Word("来迟了", "too late", "bad"),
    "settled": Word("已结清", "settled", "go"),
    "lower_waits": Word("退款偏低待商家", "lower refund, waits for the merchant", "wait"),
    "refused": Word("档口拒退", "refused", "bad"),
    "bag": Word("退货袋优先", "the bag wins"),
    "parcel": Word("包裹优先", "the parcel wins"),
}

KIND: Mapping[str, Word] = {
    "task.assigned": Word("派给拿货", "sent to be picked"),
    "task.recalled": Word("召回", "recalled"),
    "task.ask_answered": Word("商家答复问价", "merchant answered the price question"),
    "task.answered": Word("档口答复", "stall answered"),
    "task.answer_withdrawn": Word("撤回答复", "answer withdrawn"),
    "task.asked": Word("问价", "asked about the price"),
    "task.bounced": Word("超价退回", "bounced, price above the cap"),
    "task.recall_seen": Word("手机已收到召回", "the phone has the recall"),
    "order.closed": Word("关闭订单", "order closed"),
    "order.refund_asked": Word("买家申请退款", "buyer asked for a refund"),
    "waybill.obtained": Word("取得面单", "waybill obtained"),
    "parcel.held": Word("包裹暂缓", "parcel held"),
    "waybill.voided": Word("面单作废", "waybill voided"),
    "return.expected": Word("等待退件", "return expected"),
    "trip.assigned": Word("排入退货批次", "joined a return trip"),
    "verdict.purchase": Word("裁定：购买", "verdict on the purchase"),
    "verdict.answer": Word("裁定：答复", "verdict on the answer"),
    "verdict.stock": Word("裁定：库存", "verdict on the stock"),
    "verdict.refund": Word("裁定：退款", "verdict on the refund"),
    "piece.bought": Word("拿到货", "bought"),
    "piece.adopted": Word("按标签认领", "adopted by its label"),
    "piece.undone": Word("撤销购买", "purchase undone"),
    "piece.price_corrected": Word("更正价格", "price corrected"),
    "piece.label_reprinted": Word("补打标签", "label reprinted"),
    "piece.scanned_in": Word("入仓扫描", "scanned in"),
    "piece.swapped": Word("调换标签", "labels swapped"),
    "piece.drawn": Word("库存出货", "drawn from stock"),
    "parcel.packed": Word("打包", "packed"),
    "waybill.printed": Word("打印面单", "waybill printed"),
    "parcel.shipped": Word("发货", "shipped"),
    "return.received": Word("收到退件", "return received"),
    "piece.inspected": Word("验货", "inspected"),
    "piece.bagged": Word("退货装袋", "bagged for the stall"),
    "piece.brought_back": Word("退货员带回", "brought back"),
    "piece.pending_ended": Word("待处理结束", "pending ended"),
    "piece.refunded": Word("档口退款", "stall refunded"),
    "piece.refused": Word("档口拒退", "stall refused"),
    "stall.listed": Word("档口登记", "stall listed"),
    "device.scope": Word("设备权限", "device scope"),
}


def word(words: Mapping[str, Word], key: object) -> Word:
    """Return the word of a key; an unknown key speaks for itself."""
    text = "" if key is None else str(key)
    return words.get(text, Word(text, text))


DONE: Mapping[str, Word] = {
    "merchant.create": Word("商家已添加。", "The merchant was added."),
    "shop.set": Word("店铺已保存。", "The shop was saved."),
    "fees.set": Word(
        "费用已保存，对以后放行的订单有效。", "The fees were saved; they hold for orders accepted from now on."
    ),
    "platform.set": Word("规则已保存。", "The rules were saved."),
    "topup": Word("充值已登记。", "The top-up was recorded."),
    "orders.import": Word("订单已导入。", "The orders were imported."),
    "orders.release": Word("已放行。", "The order goes on."),
    "order.close": Word(
        "订单已关闭；还在手机上的等答复。", "The order is closed; what is out on a phone waits for its answer."
    ),
    "order.address_given": Word("地址已保存。", "The address was saved."),
    "refund.asked": Word("已登记：这一单停止发货。", "Recorded: nothing of this order ships."),
    "refund.withdrawn": Word("已登记：这一单继续。", "Recorded: the order goes on."),
    "task.decide": Word("已按您的决定办理。", "Your decision is carried out."),
    "ask.answer": Word("已答复拿货员。", "The picker has your answer."),
    "over_cap.decide": Word("已记下。", "Recorded."),
    "refund.decide": Word("已记下。", "Recorded."),
    "routes.assign": Word("已派单。", "The pieces were assigned."),
    "task.reassign": Word("已改派。", "The task was given to another device."),
    "person.create": Word("人员已保存。", "The person was saved."),
    "person.end": Word("已离开，不能再签到。", "He signs in nowhere any more."),
    "person.back": Word("回来了，可以签到。", "He signs in again."),
    "device.code": Word("登记码已生成。", "The code was made."),
    "device.new_key": Word("连上时它会换新的密钥和设备号。", "It takes a new key and number when it is connected."),
    "device.revoke": Word("设备已停用。", "The device was revoked."),
    "orphan.adopt": Word("已按标签认领这件。", "The piece was adopted by its label."),
    "tasks.hand_over": Word("任务已转交。", "The tasks were handed over."),
    "parked.release": Word("它交来的已放行。", "What it delivered counts now."),
    "device.write_off": Word("设备已核销。", "The device was written off."),
    "device.allowance": Word("超价额度已设定。", "The allowance was set."),
    "device.cells": Word("格口已设定。", "The cells were set."),
    "return.expected": Word(
        "退件已登记，仓库一扫就认得。", "The return is expected; the warehouse will know it at a scan."
    ),
    "trip.open": Word("退货批次已开。", "The trip was opened."),
    "discrepancy.resolve": Word("已标为处理完。", "Marked as dealt with."),
    "day.close": Word("已日结。", "The day was closed."),
    "courier.range_added": Word("号段已添加。", "The range was added."),
    "stall.listed": Word("档口已保存。", "The stall was saved."),
}


def done_detail(kind: str, outcome: Mapping[str, object]) -> Word:
    """What a carried-out command says in numbers, after its own words."""

    def number(name: str) -> int:
        value = outcome.get(name)
        return value if isinstance(value, int) else 0

    match kind:
        case "topup" if not outcome.get("booked", True):
            return Word(
                "这个流水号以前登记过，没有再记。", " This reference was recorded before and did not count again."
            )
        case "topup" if number("orders_gone_on"):
            count = number("orders_gone_on")
            return Word(f"{count} 单等钱的订单已放行。", f" {count} orders that waited for money go on.")
        case "routes.assign" | "tasks.hand_over":
            count = number("tasks")
            return Word(f"共 {count} 件。", f" {count} pieces in all.")
        case "order.close" if number("pieces_out"):
            count = number("pieces_out")
            return Word(f"{count} 件还在手机上。", f" {count} pieces are still out.")
        case "return.expected" | "trip.open":
            count = number("pieces")
            return Word(f"{count} 件。", f" {count} pieces.")
        case "courier.range_added" | "shop.set" if number("parcels_served"):
            count = number("parcels_served")
            return Word(f"{count} 个等单号的包裹已取到面单。", f" {count} waiting parcels have their waybill.")
        case _:
            return Word("", "")
