"""What became of a command, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.pages import words
from server.pages.asking import Shown


def show_outcome(command: int, kind: str, outcome: Mapping[str, Any]) -> Shown:
    """Return an outcome in words: what was done, or why nothing was."""
    if outcome.get("ok"):
        done = words.DONE.get(kind, words.Word("办好了。", "Done."))
        more = words.done_detail(kind, outcome)
        return Shown(command=command, state="done", zh=done.zh + more.zh, en=done.en + more.en, result=dict(outcome))
    message = str(outcome.get("message", ""))
    zh, slash, en = message.partition(" / ")
    return Shown(
        command=command, state="refused", code=str(outcome.get("code", "refused")), result=dict(outcome),
        zh=str(outcome.get("zh") or zh or "没有执行。"), en=str(outcome.get("en") or (en if slash else zh) or "Nothing was done."),
    )  # fmt: skip
