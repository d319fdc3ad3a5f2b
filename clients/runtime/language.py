"""Every sentence a client shows, Chinese first, English by a switch: one table.

`say` fills a text's `{parts}`; a key nobody wrote is shown as itself rather than raising in front of a customer. Errors have the key
`error.<code>`; a code without a sentence shows its English message. Pure.
"""

from __future__ import annotations

from typing import Final, Literal

from clients.runtime.texts import ERRORS, TEXTS

Language = Literal["zh", "en"]
_INDEX: Final[dict[Language, int]] = {"zh": 0, "en": 1}


def say(language: Language, key: str, **parts: object) -> str:
    """Return the text of `key` with its parts filled in."""
    pair = TEXTS.get(key)
    return key if pair is None else pair[_INDEX[language]].format(**parts)


def say_error(language: Language, code: str, message: str = "") -> str:
    """Return what an error code means to the person, and what to do."""
    pair = ERRORS.get(code)
    if pair is None:
        return f"{message or code}" if language == "en" else f"没有做成：{message or code}"
    return pair[_INDEX[language]].format(detail=message)
