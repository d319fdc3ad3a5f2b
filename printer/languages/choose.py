"""Give the encoder of a profile: the one place that knows which languages exist."""

from __future__ import annotations

from typing import assert_never

from printer.languages.escpos import EscPos
from printer.languages.port import Language
from printer.languages.tspl import Tspl
from printer.profiles import LanguageName, PrinterProfile


def choose_language(profile: PrinterProfile) -> Language:
    """Return the encoder for the profile's language."""
    match profile.language:
        case LanguageName.TSPL:
            return Tspl()
        case LanguageName.ESCPOS:
            return EscPos()
        case never:
            assert_never(never)
