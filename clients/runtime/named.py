"""What an entry of the inbox or of the outbox is about, as a person at a stall would say it: stall, style, colour, size and the label's
last digits. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clients.runtime.language import Language, say
from clients.runtime.shown import tail
from sync_core.facts import subject_type
from sync_core.replica import Replica
from trade.ids import bare_id

State = Mapping[str, Any]


def name_garment(replica: Replica, language: Language, subject: str, state: State, *, fact: str) -> str:
    """Return "3F 315 · 8821# 黑色 M · 标签 0013" for a task or piece; what this device does not know is left out."""
    garment = code = ""
    match subject_type(subject):
        case "task":
            garment = _said(state.get("assigned") or {})
            code = next((str(p["piece"]) for p in state.get("purchases", ()) if p["fact"] == fact), "")
        case "piece":
            garment, code = name_piece(replica, state), bare_id(subject)
        case _:
            pass
    label = say(language, "inbox.label", tail=tail(code)) if code else ""
    return " · ".join(part for part in (garment, label) if part)


def name_piece(replica: Replica, state: State) -> str:
    """Return "3F 315 · 8821# 黑色 M" for a piece whose code stands beside it; nothing when this device knows only the code."""
    return _said(state.get("garment") or _assigned(replica, state.get("task")))


def name_subjects(replica: Replica, language: Language, subjects: Sequence[str], *, document: str) -> str:
    """Return what a fact is about: its piece's or task's garment, a parcel's waybill; else the number that a person scanned."""
    subject = next((one for one in subjects if subject_type(one) == "piece"), subjects[0])
    state: State = replica.state(subject, document) or {}
    garment = name_garment(replica, language, subject, state, fact="")
    if garment or subject_type(subject) != "parcel":
        return garment or bare_id(subject)
    waybill = state.get("waybill") or state.get("packed") or {}
    return str(waybill.get("waybill_no") or bare_id(subject))


def _said(body: State) -> str:
    parts = (
        " ".join(str(body[name]) for name in names if body.get(name))
        for names in (("floor", "stall"), ("style", "colour", "size"))
    )
    return " · ".join(part for part in parts if part)


def _assigned(replica: Replica, task: object) -> State:
    found = replica.state(f"task:{task}") if task else None
    return (found or {}).get("assigned") or {}
