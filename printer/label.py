"""Describe a label in millimetres, whatever printer it will meet.

The origin is the top left corner; x grows to the right, y down. A `Label` that exists is valid: every element lies on
the paper, so no encoder has to think about overflow. The JSON form is what the spool
stores; it never enters an envelope.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from printer.errors import LabelError
from printer.fitting import text_width_mm
from printer.symbols import CODE128_QUIET_MODULES, code128_modules, qr_side

ELEMENTS_MAX: Final = 64
TEXT_CHARS_MAX: Final = 200
SIDE_MM_MAX: Final = 200.0
PICTURE_PX_MAX: Final = 1600
READABLE_HEIGHT_MM: Final = 2.0
READABLE_GAP_MM: Final = 0.5
_SLACK_MM: Final = 0.13  # one dot of rounding at 203 dpi
_JSON_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One line of text; a hanzi is `height_mm` wide, an ASCII character half; `width_mm_max` narrows its room."""

    x_mm: float
    y_mm: float
    height_mm: float
    text: str
    bold: bool = False
    width_mm_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Code128:
    """A Code 128 symbol; x is its first bar. `readable` adds its text below, 2 mm high."""

    x_mm: float
    y_mm: float
    height_mm: float
    data: str
    module_mm: float = 0.25
    readable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Qr:
    """A QR code, error correction M; x and y are its first module."""

    x_mm: float
    y_mm: float
    data: str
    module_mm: float = 0.375


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A filled bar: horizontal or vertical by its sides."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A frame drawn inwards from its outer edge."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float
    thickness_mm: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Dots to print as they are (8 a millimetre): rows of whole bytes, the first dot in the high bit, 1 burns."""

    x_mm: float
    y_mm: float
    width_px: int
    height_px: int
    bits: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMark:
    """The place where a reprint shows "R2", "R3" …; the first copy leaves it white."""

    x_mm: float
    y_mm: float
    height_mm: float


Element = Text | Code128 | Qr | Line | Box | Picture | CopyMark

_KINDS: Final[Mapping[str, type[Element]]] = {
    "text": Text,
    "code128": Code128,
    "qr": Qr,
    "line": Line,
    "box": Box,
    "picture": Picture,
    "copy_mark": CopyMark,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_READERS: Final = {kind: TypeAdapter[Element](kind) for kind in _KINDS.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A printable label.

    Raises:
        LabelError: an element is off the paper, too many, empty, or holds what no printer can show.
    """

    width_mm: float
    height_mm: float
    elements: tuple[Element, ...]

    def __post_init__(self) -> None:
        if not (5 <= self.width_mm <= SIDE_MM_MAX and 5 <= self.height_mm <= SIDE_MM_MAX):
            raise LabelError(f"a label is 5 to {SIDE_MM_MAX:g} mm a side, not {self.width_mm:g} x {self.height_mm:g}")
        if len(self.elements) > ELEMENTS_MAX:
            raise LabelError(f"a label has at most {ELEMENTS_MAX} elements, not {len(self.elements)}")
        for number, element in enumerate(self.elements, 1):
            self._check(number, element)

    def _check(self, number: int, element: Element) -> None:
        width_mm, height_mm = element_size_mm(element)
        name = f"element {number} ({_NAMES[type(element)]})"
        if width_mm <= 0 or height_mm <= 0 or element.x_mm < 0 or element.y_mm < 0:
            raise LabelError(f"{name}: position must not be negative and size must not be zero")
        room_mm = element.width_mm_max if isinstance(element, Text) else None
        if room_mm is not None and width_mm > room_mm + _SLACK_MM:
            raise LabelError(f"{name}: the text is {width_mm:.1f} mm wide, {room_mm:g} mm are free")
        right_mm, bottom_mm = element.x_mm + width_mm, element.y_mm + height_mm
        if right_mm > self.width_mm + _SLACK_MM or bottom_mm > self.height_mm + _SLACK_MM:
            raise LabelError(
                f"{name}: ends at {right_mm:.1f} x {bottom_mm:.1f} mm, "
                f"off the {self.width_mm:g} x {self.height_mm:g} mm label"
            )


def element_size_mm(element: Element) -> tuple[float, float]:
    """Return the (width, height) an element covers, its readable text included.

    Raises:
        LabelError: the element itself is wrong (empty, control characters, wrong number of bits …).
    """
    match element:
        case Text():
            if not element.text or len(element.text) > TEXT_CHARS_MAX:
                raise LabelError(f"a text has 1 to {TEXT_CHARS_MAX} characters, not {len(element.text)}")
            if any(unicodedata.category(char) in ("Cc", "Cs") for char in element.text):
                raise LabelError(f"a text must not hold control characters: {element.text!r}")
            width_mm = text_width_mm(element.text, height_mm=element.height_mm, bold=element.bold)
            return width_mm, element.height_mm
        case Code128():
            bars_mm = len(code128_modules(element.data)) * element.module_mm
            if element.x_mm < CODE128_QUIET_MODULES * element.module_mm - _SLACK_MM:
                raise LabelError(f"the bars of {element.data!r} start too near to the edge to be read")
            extra_mm = READABLE_GAP_MM + READABLE_HEIGHT_MM if element.readable else 0.0
            return bars_mm + CODE128_QUIET_MODULES * element.module_mm, element.height_mm + extra_mm
        case Qr():
            side_mm = qr_side(element.data) * element.module_mm
            return side_mm, side_mm
        case Line():
            return element.width_mm, element.height_mm
        case Box():
            if not 0 < element.thickness_mm <= min(element.width_mm, element.height_mm) / 2:
                raise LabelError("a box needs a thickness above zero and below half of its shorter side")
            return element.width_mm, element.height_mm
        case Picture():
            if not (1 <= element.width_px <= PICTURE_PX_MAX and 1 <= element.height_px <= PICTURE_PX_MAX):
                raise LabelError(f"a picture is 1 to {PICTURE_PX_MAX} dots a side")
            expected = (element.width_px + 7) // 8 * element.height_px
            if len(element.bits) != expected:
                raise LabelError(f"the picture needs {expected} bytes, not {len(element.bits)}")
            return element.width_px / 8, element.height_px / 8
        case CopyMark():
            return 1.5 * element.height_mm, element.height_mm


def mark_copy(label: Label, copy: int) -> Label:
    """Return the label for the `copy`-th paper (1 is the first): marks become "R2" … or vanish."""
    if copy < 1:
        raise LabelError(f"copies count from 1, not {copy}")
    elements: list[Element] = []
    for element in label.elements:
        if not isinstance(element, CopyMark):
            elements.append(element)
        elif copy > 1:
            # Past R9 the mark stays "R9": it says "not the first", and the column `copy` has the number.
            text = f"R{min(copy, 9)}"
            elements.append(
                Text(x_mm=element.x_mm, y_mm=element.y_mm, height_mm=element.height_mm, text=text, bold=True)
            )
    return Label(width_mm=label.width_mm, height_mm=label.height_mm, elements=tuple(elements))


def label_to_json(label: Label) -> str:
    """Return the JSON the spool stores; `label_from_json` gives the equal label back."""
    elements = []
    for element in label.elements:
        fields = {field.name: getattr(element, field.name) for field in dataclasses.fields(element)}
        if isinstance(element, Picture):
            fields["bits"] = base64.b64encode(element.bits).decode("ascii")
        elements.append({"kind": _NAMES[type(element)], **fields})
    body = {"v": _JSON_VERSION, "width_mm": label.width_mm, "height_mm": label.height_mm, "elements": elements}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def label_from_json(text: str) -> Label:
    """Return the label a JSON text describes.

    Raises:
        LabelError: not JSON, another version, an unknown kind or field, or a label that is not valid.
    """
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or body.get("v") != _JSON_VERSION:
            raise LabelError(f"not a label of version {_JSON_VERSION}")
        elements = tuple(_decode_element(entry) for entry in body["elements"])
        return Label(width_mm=float(body["width_mm"]), height_mm=float(body["height_mm"]), elements=elements)
    except (ValueError, KeyError, TypeError) as error:
        raise LabelError(f"not a label: {error}") from error


def _decode_element(entry: Any) -> Element:
    fields = dict(entry)
    kind = _KINDS.get(fields.pop("kind", ""))
    if kind is None:
        raise LabelError(f"unknown kind of element in {entry!r}")
    unknown = fields.keys() - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise LabelError(f"unknown fields {sorted(unknown)} in a {_NAMES[kind]}")
    if kind is Picture:
        try:
            fields["bits"] = base64.b64decode(fields["bits"], validate=True)
        except binascii.Error as error:
            raise LabelError(f"the picture's bits are not base64: {error}") from error
    try:
        return _READERS[kind].validate_python(fields)
    except ValidationError as error:
        raise LabelError(f"a {_NAMES[kind]} is wrong: {error.errors(include_url=False)}") from error
