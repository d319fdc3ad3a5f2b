"""What an inbox entry is about, as a person at a stall would say it: stall, style, colour, size and the label's last digits. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clients.runtime.language import Language, say
from clients.runtime.shown import tail
from sync_core.facts import subject_type
from sync_core.replica import Replica
from trade.ids import bare_id

State = Mapping[str, Any]


def name_garment(replica: Replica, language: Language, subject: str, state: State, *, fact: str) -> str:
    """Return "3F 315 · 8821# 黑色 M · 标签 0013" for a task or piece; what this device does not know is left out."""
    body: State = {}
    code = ""
    match subject_type(subject):
        case "task":
            body = state.get("assigned") or {}
            code = next((str(p["piece"]) for p in state.get("purchases", ()) if p["fact"] == fact), "")
        case "piece":
            code = bare_id(subject)
            body = state.get("garment") or _assigned(replica, state.get("task"))
        case _:
            pass
    parts = [
        " ".join(str(body[name]) for name in names if body.get(name))
        for names in (("floor", "stall"), ("style", "colour", "size"))
    ]
    label = say(language, "inbox.label", tail=tail(code)) if code else ""
    return " · ".join(part for part in (*parts, label) if part)


def _assigned(replica: Replica, task: object) -> State:
    found = replica.state(f"task:{task}") if task else None
    return (found or {}).get("assigned") or {}
