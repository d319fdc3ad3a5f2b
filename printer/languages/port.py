"""What a command language owes the spool: bytes for a label, and what the printer's answers mean.

Languages are pure: no device, no clock. The one fact the spool builds on is where paper can appear. TSPL prints
nothing before its last short line, so that line is kept apart as `commit`; ESC/POS burns as bytes arrive, so any cut
in its body may have left a part of a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from printer.errors import LabelError, PrinterReason
from printer.fitting import char_halves
from printer.label import Label
from printer.profiles import LanguageName, PrinterProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedJob:
    """The bytes of one label: send `body`, then `commit`. Unless the language prints while sending, no paper appears
    before the first byte of `commit`."""

    body: bytes
    commit: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PrinterStatus:
    """What a printer says about itself. `printing` with no reasons is healthy."""

    printing: bool = False
    reasons: tuple[PrinterReason, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Return whether it would print now."""
        return not self.reasons and not self.printing


class Language(Protocol):
    """One command language."""

    @property
    def name(self) -> LanguageName:
        """Return which one this is."""
        ...

    @property
    def prints_while_sending(self) -> bool:
        """Return whether paper can appear before the commit."""
        ...

    @property
    def status_query(self) -> bytes:
        """Return the bytes that make the printer answer at once."""
        ...

    @property
    def status_bytes(self) -> int:
        """Return how many bytes answer `status_query`."""
        ...

    @property
    def confirm_query(self) -> bytes:
        """Return the bytes whose answer proves that what was sent before has been worked off."""
        ...

    @property
    def confirm_bytes(self) -> int:
        """Return how many bytes answer `confirm_query`."""
        ...

    def encode(self, label: Label, profile: PrinterProfile) -> EncodedJob:
        """Return the bytes for one paper.

        Raises:
            LabelError: the label is wider than the printer (`does_not_fit`).
        """
        ...

    def parse_status(self, answer: bytes, profile: PrinterProfile) -> PrinterStatus:
        """Return what the answer to `status_query` means; an answer of another language is a reason, not an error."""
        ...

    def parse_confirm(self, answer: bytes, profile: PrinterProfile) -> PrinterStatus:
        """Return what the answer to `confirm_query` means."""
        ...


def check_width(label: Label, profile: PrinterProfile) -> None:
    """Raise LabelError when the label is wider than the print head."""
    if label.width_mm > profile.width_mm + 0.5:
        raise LabelError(
            f"the label is {label.width_mm:g} mm wide, {profile.name} prints {profile.width_mm:g} mm",
            PrinterReason.DOES_NOT_FIT,
        )


def encode_chinese(text: str, profile: PrinterProfile) -> bytes | None:
    """Return the GB18030 bytes the printer's font surely shows, or None: then the text must go as dots.

    GBK and GB2312 are the one- and two-byte parts of GB18030, so the bytes are right under either name. What needs four
    bytes (¥ U+00A5, rare hanzi, emoji) no pocket printer's font holds. ￥ (U+FFE5) and 〇 are two-byte characters.
    """
    try:
        encoded = [(char, char.encode("gb18030")) for char in text]
        # Python's gb2312 maps the middle dot and the dash otherwise than printers do: it judges bytes, not characters.
        b"".join(code for _, code in encoded).decode(profile.coverage.value)
    except UnicodeError:
        return None
    if any(len(code) != char_halves(char) for char, code in encoded):
        return None  # the printer would draw it wider or narrower than it was measured
    return b"".join(code for _, code in encoded)
