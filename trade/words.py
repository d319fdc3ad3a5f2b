"""The trade's closed words in Chinese and English, for every screen, label and page that shows one.

`say(KIND, word, "zh")` never fails: a word of a newer version is shown as it is.
Pure. Rules D6, D14, D16, D19, I1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Language = Literal["zh", "en"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One meaning in both languages."""

    zh: str
    en: str

    def in_language(self, language: str) -> str:
        return self.en if language == "en" else self.zh


Vocabulary = Mapping[str, Words]


def _words(**pairs: tuple[str, str]) -> Vocabulary:
    return {word: Words(zh=zh, en=en) for word, (zh, en) in pairs.items()}


def say(vocabulary: Vocabulary, word: str | None, language: str = "zh") -> str:
    """Return a word in a language; an unknown word as it is, None as nothing."""
    if word is None:
        return ""
    known = vocabulary.get(word)
    return word if known is None else known.in_language(language)


ANSWERS: Final = _words(
    out_of_stock=("无货", "out of stock"),
    this_afternoon=("下午有货", "this afternoon"),
    tomorrow=("明天有货", "tomorrow"),
    on_day=("第几天有货", "on a day"),
    unsure=("不确定", "unsure"),
    variant_gone=("颜色/尺码没了", "colour or size gone"),
    style_gone=("款没了", "style gone"),
    stall_closed=("档口没开", "stall closed"),
    stall_wrong=("档口不对", "wrong stall"),
    price_wrong=("价格不对", "price wrong"),
    defective=("有瑕疵", "defective"),
)
PLACES: Final = _words(
    wanted=("待拿", "wanted"),
    with_picker=("在拿货员手里", "with the picker"),
    inbound=("已到仓", "arrived"),
    in_cell=("在格口", "in its cell"),
    packed=("已打包", "packed"),
    shipped=("已发货", "shipped"),
    in_stock=("在库", "in stock"),
    return_in=("退件待验", "return to inspect"),
    pending=("待处理区", "pending area"),
    with_runner=("在退货员手里", "with the runner"),
    back_at_stall=("已退档口", "back at the stall"),
    left_at_stall=("留在档口未收款", "left at the stall unpaid"),
    returned_to_buyer=("已退回买家", "sent back to the buyer"),
    handed_to_merchant=("已交商家", "handed to the merchant"),
    foreign=("外来件", "not ours"),
    lost=("丢失", "lost"),
    written_off=("已报损", "written off"),
    undone=("误点已撤销", "undone"),
)
TASK_STATUS: Final = _words(
    wanted=("待拿", "wanted"),
    asked=("问价中", "asking the merchant"),
    bought=("已拿", "bought"),
    answered=("已答复", "answered"),
    bounced=("已退回商家", "bounced"),
    recalled=("已召回", "recalled"),
    ended=("已结束", "ended"),
)
PARCEL_STATUS: Final = _words(
    open=("待取面单", "no waybill yet"),
    held=("面单暂扣", "waybill held"),
    ready=("可打包", "ready to pack"),
    packed=("已打包", "packed"),
    printed=("面单已打", "waybill printed"),
    shipped=("已发货", "shipped"),
    voided=("面单作废", "waybill voided"),
)
OUTCOMES: Final = _words(
    keeps=("归此单", "serves the order"),
    second=("多买一件，归平台", "second piece, the platform's"),
    closed_unseen=("关单前未知，归商家库存", "closed unseen, the merchant's stock"),
    closed_seen=("已见召回仍购买，归平台", "bought after the recall was seen, the platform's"),
    over_cap=("超价购买，超出部分平台暂担", "above the cap, the excess is the platform's"),
    undone=("误点已撤销", "undone"),
    accepted=("已采纳", "accepted"),
    overruled=("已有人买到", "overruled: it was bought"),
    too_late=("订单已撤回", "too late: withdrawn before"),
    settled=("已结清", "settled"),
    lower_waits=("少退，等商家确认", "less than paid, waits for the merchant"),
    refused=("未退款", "refused"),
)
NEXT: Final = _words(
    none=("无需处理", "nothing to do"),
    merchant_asked=("已问商家", "the merchant is asked"),
    again_on_day=("到日再拿", "back on the list on its day"),
    stopped=("已停止", "stopped"),
)
HOLDS: Final = _words(
    shipped=("已发货", "already shipped"),
    refund=("退款中", "refund asked"),
    remote_area=("偏远地区", "remote area"),
    message=("有留言，请先看", "has a message to read"),
    bad_code=("商品编码有误", "product code cannot be read"),
    stall_closed=("档口休息", "stall closed"),
    too_old=("订单过旧", "order too old"),
    service_ended=("服务期已到", "service period ended"),
    money=("余额不足", "not enough money"),
)
STOPS: Final = _words(
    closed=("停：订单已关闭", "stop: order closed"),
    refund=("停：买家申请退款", "stop: refund asked"),
    no_waybill=("还没有面单号", "no waybill number yet"),
    waybill_voided=("停：面单已作废", "stop: waybill voided"),
    incomplete=("还没到齐", "not complete"),
    other_terminal=("请拿到所属终端", "carry it to its own terminal"),
)
MEANS: Final = _words(
    cash=("现金", "cash"),
    company=("公司钱包", "company wallet"),
    tab=("记账", "on the stall's tab"),
    credit=("档口欠条", "stall credit"),
)
RECALLS: Final = _words(
    closed=("订单已关闭", "order closed"),
    refund=("买家申请退款", "refund asked"),
    reassigned=("已改派", "given to somebody else"),
    stall_changed=("已换档口", "another stall"),
    delisted=("已下架", "delisted"),
)
REFUSALS: Final = _words(
    smell=("有异味", "smell"),
    tag_missing=("吊牌缺失", "tag missing"),
    altered=("已改动", "altered"),
    term_past=("超过退货期", "past the return term"),
    price_fell=("已降价", "price fell"),
    denies=("不认账", "denies the sale"),
    unfit=("影响二次销售", "cannot be sold again"),
    other=("其他", "other"),
)
REFUSED_THEN: Final = _words(
    keep_trying=("再协商", "try again"),
    bring_back=("带回仓库", "bring it back"),
    left_at_stall=("留在档口", "left at the stall"),
    written_off=("报损", "write it off"),
)
PENDING_ENDS: Final = _words(
    returned_to_buyer=("寄回买家", "sent back to the buyer"),
    accepted=("最终收下", "accepted after all"),
    handed_to_merchant=("交给商家", "handed to the merchant"),
    disposed=("销毁", "disposed of"),
)
PARCEL_HOLDS: Final = _words(
    address_needed=("缺收件地址", "address needed"),
    no_number=("单号取不到", "no waybill number to be had"),
    courier_refuses=("快递不收", "the courier refuses"),
)
DOUBTS: Final = _words(
    not_a_price=("这不是价格", "this is no price"),
    ten_times=("像多按了一位", "looks like a digit too many"),
    a_tenth=("像少按了一位", "looks like a digit too few"),
    far_above=("比平时高很多", "far above the usual price"),
    far_below=("比平时低很多", "far below the usual price"),
)
VOIDS: Final = {
    "void.kind": Words(zh="未知的记录", en="unknown kind of fact"),
    "void.role": Words(zh="此角色不能这样说", en="this role may not say it"),
    "void.subjects": Words(zh="没说是谁的事", en="does not name what it must"),
    "void.body": Words(zh="内容不合规", en="its body has not the right shape"),
    "schema.newer": Words(zh="请更新程序", en="update needed"),
}
