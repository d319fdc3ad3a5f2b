"""What a scan answers: one word for programs, a colour and a tone for the hands, big words for the eyes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from clients.runtime.language import Language, say
from sync_core.facts import Json
from trade import words

Tone = Literal["ok", "warn", "stop", "info"]

TONES: Final[Mapping[str, Tone]] = {
    "in_cell": "ok",
    "complete_packed": "ok",
    "single_packed": "ok",
    "complete_waits": "warn",
    "carry": "info",
    "waiting_for_phone": "info",
    "already_in": "warn",
    "already_packed": "warn",
    "to_stock": "info",
    "stop_closed": "stop",
    "stop_refund": "stop",
    "stop_voided": "stop",
    "stop_incomplete": "stop",
    "stop_not_packed": "stop",
    "shipped": "ok",
    "already_shipped": "warn",
    "return_received": "ok",
    "return_again": "warn",
    "return_unknown": "warn",
    "unmatched_taken": "ok",
    "passed": "ok",
    "pending": "warn",
    "bagged": "ok",
    "bagged_again": "warn",
    "sold": "stop",
    "not_stock": "stop",
    "elsewhere": "stop",
    "brought_back": "ok",
    "swapped": "ok",
    "reprinted": "ok",
    "pending_ended": "ok",
    "refused": "stop",
}
"""Every outcome and its tone: ok green, warn amber, stop red, info blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to one scan. `parts` fill the sentences `scan.<word>` (big) and `scan.<word>.more`."""

    word: str
    parts: Mapping[str, Json] = field(default_factory=dict)
    answer: Mapping[str, Json] = field(default_factory=dict)
    at_ms: int = 0

    @property
    def tone(self) -> Tone:
        """Return its colour and sound."""
        return TONES[self.word]

    def big(self, language: Language) -> str:
        """Return the big words."""
        return say(language, f"scan.{self.word}", **self.parts)

    def more(self, language: Language) -> str:
        """Return the sentence below them."""
        parts = dict(self.parts)
        if "why" in parts:
            parts["why"] = say(language, f"parked.{parts['why']}")
        if "place" in parts:
            parts["place"] = words.say(words.PLACES, str(parts["place"]), language)
        return say(language, f"scan.{self.word}.more", **parts)

    def as_json(self) -> dict[str, Json]:
        """Return what a program gets."""
        return {
            "outcome": self.word,
            "tone": self.tone,
            "zh": f"{self.big('zh')} {self.more('zh')}".strip(),
            "en": f"{self.big('en')} {self.more('en')}".strip(),
            **self.answer,
        }
