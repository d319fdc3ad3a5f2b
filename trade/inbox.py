"""What did not win, told to the one who did it: nobody's action vanishes (I14).

Every entry is read off one subject's folded state, so a phone in a basement shows it as soon as its replica knows.
Entries that only follow from ranking are `provisional` until the verdict comes.
Pure. Rules E1-E4, E7, E9, E18, E21, D7, D9-D11, D14, I14.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sync_core.facts import subject_type
from trade.ids import bare_id
from trade.reading import State
from trade.words import Words

ENTRIES: Final[Mapping[str, Words]] = {
    "purchase.second": Words(
        zh="这件别人先买到了，你的这件归平台，照样入仓",
        en="somebody else's purchase serves it; bring yours in as usual",
    ),
    "purchase.closed_unseen": Words(
        zh="商家已关单，你买时还不知道：照样入仓，归商家库存",
        en="closed before you could know: bring it in, the merchant's stock",
    ),
    "purchase.closed_seen": Words(
        zh="召回已显示后仍购买：归平台，等主管处理", en="bought after the recall was shown: the supervisor decides"
    ),
    "purchase.over_cap": Words(
        zh="超过限价，超出部分平台暂担", en="above the cap: the excess is the platform's for now"
    ),
    "purchase.same_code": Words(
        zh="同一件码又买了一次，后一次不算", en="this code was bought twice: the later one does not count"
    ),
    "answer.overruled": Words(
        zh="你报没货，别人买到了：以买到为准", en="you said none, somebody bought it: bought wins"
    ),
    "answer.too_late": Words(zh="你答复时订单已撤回", en="it was withdrawn before your answer"),
    "answer.stopped": Words(
        zh="第三次说改天，已停止并告知商家", en="the third postponement: stopped, the merchant is told"
    ),
    "ask.refused": Words(zh="商家不接受这个价，已退回", en="the merchant does not accept the price"),
    "stock.pull_from_bag": Words(
        zh="这件已卖出打包：从退货袋里拿出来", en="it was sold and packed: take it out of the bag"
    ),
    "stock.pick_again": Words(zh="这件已被拿走：给买家另拿一件", en="it is gone: pick another for the buyer"),
    "stock.none": Words(zh="这件已归别处", en="it went elsewhere"),
    "scan.already_in": Words(zh="这件已入仓，重复扫描", en="already in: scanned before"),
    "parcel.already_shipped": Words(zh="这个包裹已发货，重复扫描", en="already shipped: scanned before"),
    "parcel.shipped_voided": Words(zh="用作废的面单发了货", en="shipped under a voided waybill"),
    "refund.refused": Words(zh="退款未被采纳", en="the refund was not accepted"),
}
"""Every code an entry may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One action that did not win. `fact` is its id; `other` names what won: a piece code, a fact or nothing."""

    code: str
    fact: str
    subject: str
    device: int
    person: str
    at_ms: int
    provisional: bool = False
    other: str | None = None

    @property
    def key(self) -> str:
        """What tells this entry from every other; a fact's id alone is unique only in its document."""
        return f"{self.subject}/{self.fact}/{self.code}"

    @property
    def zh(self) -> str:
        return ENTRIES[self.code].zh

    @property
    def en(self) -> str:
        return ENTRIES[self.code].en


def inbox(states: Iterable[tuple[str, State]], own: Collection[int | None] | None = None) -> list[Entry]:
    """Return the entries of one device's own actions, None: of everybody's (a supervisor's list), each once.

    `own` are the numbers of the device: the one it has, and those it had before; what it did under them did not win on it either.
    `states` are (subject, state) of any subjects, as `MARKET_DAY.fold` returned them.
    """
    found: dict[str, Entry] = {}
    for subject, state in states:
        for entry in entries_of(subject, state):
            if own is None or entry.device in own:
                found.setdefault(entry.key, entry)
    return list(found.values())


_LOST: Final = frozenset({"second", "closed_unseen", "closed_seen"})


def entries_of(subject: str, state: State) -> Iterator[Entry]:
    """Yield the entries that one subject's state holds."""
    if not state:
        return
    match subject_type(subject):
        case "task":
            yield from _of_purchases(subject, state)
            yield from _of_answers(subject, state)
        case "piece":
            yield from _of_piece(subject, state)
        case "parcel":
            yield from _of_parcel(subject, state)
        case _:
            return


def _of_purchases(subject: str, state: State) -> Iterator[Entry]:
    for purchase in state["purchases"]:
        outcome = purchase["outcome"]
        if outcome in ("second", "closed_unseen", "closed_seen", "over_cap"):
            yield _entry(f"purchase.{outcome}", subject, purchase, other=state["keeper"])
        elif outcome is None and not purchase["undone"] and state["keeper"] not in (None, purchase["piece"]):
            others = {other["piece"] for other in state["purchases"]}
            if state["keeper"] in others or state["drawn"] is not None:
                yield _entry("purchase.second", subject, purchase, provisional=True, other=state["keeper"])


def _of_answers(subject: str, state: State) -> Iterator[Entry]:
    bounced = [state["bounced"]] if state["bounced"] is not None else []
    for answer in [*state["answers"], *bounced]:
        if answer.get("withdrawn"):
            continue
        if answer["outcome"] == "overruled" and not _bought_himself(state, answer):
            firm = any(verdict["about"] == answer["fact"] for verdict in state["verdicts"])
            yield _entry("answer.overruled", subject, answer, provisional=not firm, other=state["keeper"])
        elif answer["outcome"] == "too_late":
            yield _entry("answer.too_late", subject, answer)
        elif answer["next"] == "stopped":
            yield _entry("answer.stopped", subject, answer)
    if state["asked"] is not None and state["asked"]["accepted"] is False:
        yield _entry("ask.refused", subject, state["asked"])


def _bought_himself(state: State, answer: Mapping[str, Any]) -> bool:
    """True when the piece that serves the task is the answerer's own: he found it after all, and knows."""
    return any(
        purchase["piece"] == state["keeper"] and purchase["device"] == answer["device"]
        for purchase in state["purchases"]
    )


def _of_piece(subject: str, state: State) -> Iterator[Entry]:
    for loss in state["losses"]:
        if loss["lost_to"] == "first_purchase":
            yield _entry("purchase.same_code", subject, loss, other=bare_id(subject))
        else:
            yield _entry(f"stock.{loss['todo']}", subject, loss, provisional=bool(loss["provisional"]))
    verdict = state["verdict"]
    if state["swapped_with"] is not None and verdict is not None and verdict["outcome"] in _LOST:
        # Since the labels were swapped the verdict speaks of the other task; the piece's own purchase is told here (E11).
        told = {"fact": verdict["about"], **{word: state[word] for word in ("device", "person", "at_ms")}}
        if state["bought"] == verdict["about"]:
            yield _entry(f"purchase.{verdict['outcome']}", subject, told, other=verdict["keeper"])
    for scan in state["scans"][1:]:
        yield _entry("scan.already_in", subject, scan, other=state["scans"][0]["fact"])
    credited = state.get("credited")
    if credited is not None and credited["outcome"] == "refused" and state["refund"] is not None:
        yield _entry("refund.refused", subject, state["refund"])


def _of_parcel(subject: str, state: State) -> Iterator[Entry]:
    for number, shipping in enumerate(state["shipped"]):
        if number:
            yield _entry("parcel.already_shipped", subject, shipping, other=state["shipped"][0]["fact"])
        elif shipping["waybill_no"] in state["voided"]:
            yield _entry("parcel.shipped_voided", subject, shipping)


def _entry(
    code: str, subject: str, told: Mapping[str, Any], *, provisional: bool = False, other: str | None = None
) -> Entry:
    return Entry(
        code=code,
        fact=told["fact"],
        subject=subject,
        device=told["device"],
        person=told["person"],
        at_ms=told["at_ms"],
        provisional=provisional,
        other=other,
    )
