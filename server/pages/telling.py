"""Tell a fact in plain words: what was said, with its amounts, places and numbers.

Pure and total: a body may be of any shape (a void fact, a newer version), then less is told, but something always is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.pages import words
from server.pages.frame import yuan
from server.pages.names import Names


def tell_fact(kind: str, body: Mapping[str, Any], names: Names) -> str:
    """Return what a fact says beyond its kind, in the language of `names`, e.g. `48.50 元 · 现金`."""
    lang = names.lang

    def t(zh: str, en: str) -> str:
        return zh if lang == "zh" else en

    def money(name: str) -> str:
        value = body.get(name)
        return yuan(value) + t(" 元", " CNY") if isinstance(value, int) and not isinstance(value, bool) else ""

    def text(name: str) -> str:
        value = body.get(name)
        return value if isinstance(value, str) else ""

    def known(which: Mapping[str, words.Word], name: str) -> str:
        return words.word(which, text(name)).said(lang) if text(name) else ""

    parts: list[str] = []
    match kind:
        case "task.assigned":
            parts = [
                f"{text('market')} {text('floor')} {text('stall')}".strip(),
                text("style"),
                t("限价 ", "cap ") + money("cap_fen"),
            ]
        case "task.ask_answered":
            parts = [
                t("同意", "accepted") if body.get("accepted") else t("不同意", "refused"),
                t("限价 ", "cap ") + money("cap_fen"),
            ]
        case "piece.bought":
            parts = [money("price_fen"), known(words.MEANS, "means")]
            parts += [t("过了期限才买", "bought late")] if body.get("late") else []
            parts += [t("手机上已有召回", "the recall was on the phone")] if body.get("seen_recall") else []
            parts += [t("用了超价额度", "by the allowance")] if body.get("override") else []
        case "piece.adopted":
            parts = [money("price_fen"), known(words.MEANS, "means"), names.person(text("person"))]
        case "task.asked" | "task.bounced" | "piece.price_corrected":
            parts = [
                t("档口要 ", "the stall wants ") + money("price_fen")
                if kind != "piece.price_corrected"
                else money("price_fen")
            ]
        case "task.answered":
            parts = [known(words.ANSWER, "answer"), text("on_day"), text("note")]
        case "verdict.purchase":
            parts = [known(words.OUTCOME, "outcome"), t("计 ", "charged ") + money("charged_fen")]
            if body.get("excess_fen"):
                parts.append(t("平台承担 ", "the platform bears ") + money("excess_fen"))
            parts.append(t("归 ", "owner ") + names.owner(text("owner")))
        case "verdict.answer":
            parts = [known(words.OUTCOME, "outcome"), text("on_day")]
        case "verdict.stock":
            parts = [known(words.OUTCOME, "winner")]
        case "verdict.refund":
            parts = [known(words.OUTCOME, "outcome"), t("退给商家 ", "credited ") + money("credited_fen")]
        case "waybill.obtained" | "waybill.printed" | "parcel.packed" | "parcel.shipped" | "waybill.voided":
            parts = [text("courier"), text("waybill_no"), text("reason")]
        case "parcel.held":
            parts = [known(words.HELD_REASON, "reason")]
        case "piece.scanned_in":
            parts = [t("格口 ", "cell ") + text("cell") if text("cell") else ""]
        case "piece.inspected":
            parts = [t("合格", "fit") if body.get("passed") else t("不合格", "not fit"), text("reason")]
        case "piece.refunded":
            parts = [t("收到 ", "received ") + money("received_fen"), known(words.MEANS, "means")]
        case "piece.refused":
            parts = [known(words.REFUSED_REASON, "reason"), text("note")]
        case "order.closed" | "task.recalled":
            parts = [known(words.RECALL, "reason"), text("note")]
        case "return.expected" | "return.received":
            parts = [text("courier_no"), text("shelf")]
        case _:
            pass
    return " · ".join(part for part in parts if part)
