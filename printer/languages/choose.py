"""Give the encoder of a profile: the one place that knows which languages exist.

An encoder is imported when a printer speaks its language: python-escpos alone takes as long to import as the rest of a client.
"""

from __future__ import annotations

from typing import assert_never

from printer.languages.port import Language
from printer.profiles import LanguageName, PrinterProfile


def choose_language(profile: PrinterProfile) -> Language:
    """Return the encoder for the profile's language."""
    match profile.language:
        case LanguageName.TSPL:
            from printer.languages.tspl import Tspl

            return Tspl()
        case LanguageName.ESCPOS:
            from printer.languages.escpos import EscPos

            return EscPos()
        case never:
            assert_never(never)
