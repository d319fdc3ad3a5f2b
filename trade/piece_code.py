"""Mint and read what a label carries: the piece code (Code 128) and the QR beside it.

A piece code is 12 digits: device number (5), that device's serial (6), check digit (1). Codes of two devices never meet, so a
phone mints them with no server (I12). The check digit is Damm's: it catches every single wrong digit and every swap of
two neighbours, the two ways a hand-typed code goes wrong. The QR tells a terminal that never heard of the piece where it
belongs (E12). Pure. Rules R44, R51, E9, E10, E12, I12, D23.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal, NewType
from urllib.parse import quote, unquote_to_bytes

from pydantic import ValidationError

from sync_core import limits
from sync_core.errors import RefusedError
from trade.kinds import PRICE_FEN_MAX, LabelQr

PieceCode = NewType("PieceCode", str)
"""Twelve digits whose check digit is right."""

SERIAL_MAX: Final = 999_999
"""Six digits: a device that buys 500 pieces a day lasts over five years; then it is enrolled again under a new number."""

QR_PREFIX: Final = "NH1:"
"""Version 1 of the label's QR. All its characters are in QR's alphanumeric set, so that the symbol stays small."""

_QR_SAFE: Final = "-./* +$"
_SCAN_MARK: Final = re.compile(r"^\][A-Za-z][0-9A-Za-z]")
_IME_MARKS: Final = str.maketrans(
    {"。": ".", "、": "/", "·": "`", "—": "-", "–": "-", "−": "-", "【": "[", "】": "]", "《": "<", "》": ">"}
)
_DAMM: Final = (
    "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
    "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
)  # fmt: skip
"""The quasigroup of Damm's thesis (2004), row by row."""

CodeReason = Literal[
    "code.empty", "code.not_ours", "code.check_digit", "code.serials_used_up", "code.device_number", "code.qr"
]


class CodeError(RefusedError):
    """A scanned or typed code that is no piece code; `zh` and `en` say so to the person."""

    def __init__(self, reason: CodeReason, zh: str, en: str) -> None:
        super().__init__(reason, en)
        self.zh = zh
        self.en = en


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedLabel:
    """What one look at a label told: its code, and the QR's knowledge when it was the QR that was read."""

    code: PieceCode
    qr: LabelQr | None = None


def mint_piece_code(device: int, serial: int) -> PieceCode:
    """Return the code of a device's `serial`-th piece.

    Raises:
        CodeError: the device number is a server's or too long, or its serials are used up (1 to 999,999).
    """
    if device in limits.SERVER_NUMBERS or not 0 < device <= limits.DEVICE_NUMBER_MAX:
        raise CodeError("code.device_number", "这台设备不能生成件码", "this device may not mint piece codes")
    if not 1 <= serial <= SERIAL_MAX:
        raise CodeError(
            "code.serials_used_up", "件码已用完，请重新登记设备", "piece codes are used up: enrol the device again"
        )
    digits = f"{device:05d}{serial:06d}"
    return PieceCode(digits + check_digit(digits))


def check_digit(digits: str) -> str:
    """Return Damm's check digit of a run of decimal digits."""
    interim = 0
    for digit in digits:
        interim = int(_DAMM[interim][int(digit)])
    return str(interim)


def check_piece_code(text: str) -> PieceCode:
    """Return the piece code in a scanned or typed text.

    Raises:
        CodeError: it is empty, not twelve digits of a device of ours, or its check digit is wrong.
    """
    code = normalise_scan(text).replace(" ", "")
    if not code:
        raise CodeError("code.empty", "没有读到条码", "no code was read")
    if (
        len(code) != 12
        or not (code.isascii() and code.isdigit())
        or int(code[:5]) in limits.SERVER_NUMBERS
        or code[5:11] == "000000"
    ):
        raise CodeError("code.not_ours", f"不是拿货条码：{code[:40]}", f"not one of our piece codes: {code[:40]}")
    if check_digit(code[:11]) != code[11]:
        raise CodeError("code.check_digit", f"条码有误，请重扫：{code}", f"the code is misread, scan it again: {code}")
    return PieceCode(code)


def label_qr(*, code: PieceCode, task: str, order: str, piece_no: int, order_pieces: int, price_fen: int,
             cell: str | None = None, terminal: int | None = None) -> str:  # fmt: skip
    """Return the text of a label's QR: `NH1:code:task:order:2/3:cell:terminal:price`; unknown cell or terminal stays empty."""
    fields = (
        code,
        quote(task, safe=_QR_SAFE),
        quote(order, safe=_QR_SAFE),
        f"{piece_no}/{order_pieces}",
        quote(cell or "", safe=_QR_SAFE),
        "" if terminal is None else str(terminal),
        str(price_fen),
    )
    return QR_PREFIX + ":".join(fields)


def read_label_qr(text: str) -> ScannedLabel:
    """Return what a label's QR says.

    Raises:
        CodeError: it is another QR, of a newer version, or damaged.
    """
    clean = normalise_scan(text)
    if not clean.upper().startswith(QR_PREFIX):
        newer = re.match(r"^NH\d+:", clean.upper()) is not None
        zh, en = (
            ("标签版本较新，请更新程序", "a newer label: update the program")
            if newer
            else ("不是拿货二维码", "not a QR of ours")
        )
        raise CodeError("code.qr", zh, en)
    fields = clean[len(QR_PREFIX) :].split(":")
    counts = re.match(r"^(\d{1,3})/(\d{1,3})$", fields[3]) if len(fields) == 7 else None
    if counts is None or not (_is_count(fields[6]) and (fields[5] == "" or _is_count(fields[5]))):
        raise _damaged()
    code = check_piece_code(fields[0])
    try:
        task, order, cell = (unquote_to_bytes(fields[index]).decode() for index in (1, 2, 4))
        qr = LabelQr(
            task=task, order=order, piece_no=int(counts[1]), order_pieces=int(counts[2]), cell=cell or None,
            terminal=int(fields[5]) if fields[5] else None, price_fen=int(fields[6]),
        )  # fmt: skip
    except (ValidationError, UnicodeDecodeError) as error:
        raise _damaged() from error
    return ScannedLabel(code=code, qr=qr)


def read_label(text: str) -> ScannedLabel:
    """Return what was scanned, whichever of the label's two symbols it was.

    Raises:
        CodeError: it is neither.
    """
    if re.match(r"^NH\d*:", normalise_scan(text).upper()):
        return read_label_qr(text)
    return ScannedLabel(code=check_piece_code(text))


def normalise_scan(text: str) -> str:
    """Return a keyboard wedge's text as the scanner meant it.

    A Chinese input method turns digits, letters and punctuation full-width; scanners may send the symbology's mark
    (`]C1`) in front; both are undone, and control and zero-width characters dropped (D23).
    """
    half = unicodedata.normalize("NFKC", text.translate(_IME_MARKS))
    shown = "".join(char for char in half if unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp"))
    return _SCAN_MARK.sub("", shown.strip()).strip()


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(100 * PRICE_FEN_MAX))


def _damaged() -> CodeError:
    return CodeError("code.qr", "二维码不完整，请扫条码", "the QR is damaged: scan the bar code")
