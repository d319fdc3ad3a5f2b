"""Fill a label template with the facts of one piece: templates are settings of the platform, not code.

A `LabelTemplate` is what the platform edits and stores as JSON; `render_template` puts texts into its places and
returns a valid `Label`. Text is shrunk, wrapped or cut to its place, symbols take the widest module that fits
theirs, so a long shop name can never push a code off the paper. An element all of whose placeholders are empty
prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from printer.errors import LabelError, TemplateError
from printer.fitting import clean_text, fit_text, text_width_mm
from printer.label import (
    READABLE_GAP_MM,
    READABLE_HEIGHT_MM,
    Box,
    Code128,
    CopyMark,
    Element,
    Label,
    Line,
    Qr,
    Text,
)
from printer.symbols import CODE128_QUIET_MODULES, code128_modules, qr_side

DOT_MM: Final = 0.125  # symbols are laid out in whole dots of the common 203 dpi head
CODE128_DOTS_MIN: Final = 2  # one-dot bars do not scan when the print is slightly blurred
QR_DOTS_MIN: Final = 2
LINE_PITCH: Final = 1.08
FIELD_CHARS_MAX: Final = 400

Millimetres = Annotated[float, Field(ge=0, le=200)]


class _Place(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    x_mm: Millimetres
    y_mm: Millimetres


class TextPlace(_Place):
    """An area for text, `width_mm` wide and `lines` lines of `height_mm` high."""

    kind: Literal["text"] = "text"
    width_mm: Millimetres
    height_mm: Annotated[float, Field(ge=1.5, le=40)]
    height_mm_min: Annotated[float, Field(ge=1.5, le=40)] = 2.0
    lines: Annotated[int, Field(ge=1, le=10)] = 1
    text: str = Field(max_length=200)
    bold: bool = False
    align: Literal["left", "centre", "right"] = "left"


class Code128Place(_Place):
    """An area for a Code 128 symbol with its quiet zones; the symbol stands in its middle."""

    kind: Literal["code128"] = "code128"
    width_mm: Millimetres
    height_mm: Annotated[float, Field(ge=2, le=60)]
    data: str = Field(max_length=100)
    readable: bool = False
    module_dots_max: Annotated[int, Field(ge=CODE128_DOTS_MIN, le=8)] = 2


class QrPlace(_Place):
    """A square for a QR code; the symbol stands in its middle with modules as large as fit."""

    kind: Literal["qr"] = "qr"
    size_mm: Annotated[float, Field(ge=5, le=60)]
    data: str = Field(max_length=300)


class LinePlace(_Place):
    """A filled bar."""

    kind: Literal["line"] = "line"
    width_mm: Millimetres
    height_mm: Millimetres


class BoxPlace(_Place):
    """A frame."""

    kind: Literal["box"] = "box"
    width_mm: Millimetres
    height_mm: Millimetres
    thickness_mm: Annotated[float, Field(gt=0, le=5)] = 0.25


class CopyMarkPlace(_Place):
    """Where a reprint shows its "R2"."""

    kind: Literal["copy_mark"] = "copy_mark"
    height_mm: Annotated[float, Field(ge=1.5, le=20)]


Place = Annotated[
    TextPlace | Code128Place | QrPlace | LinePlace | BoxPlace | CopyMarkPlace, Field(discriminator="kind")
]


class LabelTemplate(BaseModel):
    """A label with placeholders such as "{stall}"; `{{` stands for a brace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=40)
    width_mm: Annotated[float, Field(ge=5, le=200)]
    height_mm: Annotated[float, Field(ge=5, le=200)]
    elements: tuple[Place, ...] = Field(max_length=64)

    @model_validator(mode="after")
    def _check_placeholders(self) -> LabelTemplate:
        for pattern in self._patterns():
            for field in _fields_of(pattern):
                if not field.isidentifier():
                    raise ValueError(f"template {self.name!r}: {{{field}}} in {pattern!r} is not a plain field name")
        return self

    def fields(self) -> frozenset[str]:
        """Return the names of all placeholders."""
        return frozenset(field for pattern in self._patterns() for field in _fields_of(pattern))

    def _patterns(self) -> Iterator[str]:
        for place in self.elements:
            if isinstance(place, TextPlace):
                yield place.text
            elif isinstance(place, Code128Place | QrPlace):
                yield place.data


def render_template(template: LabelTemplate, fields: Mapping[str, str]) -> Label:
    """Return the label of one piece, parcel or return.

    `fields` may hold more than the template uses (a platform's template may leave things out), never less.

    Raises:
        TemplateError: a placeholder nobody filled, a code that does not fit its place, a place off the label.
    """
    missing = sorted(template.fields() - fields.keys())
    if missing:
        known = ", ".join(sorted(fields)) or "none"
        raise TemplateError(f"template {template.name!r} asks for {', '.join(missing)}; the known fields are {known}")
    elements: list[Element] = []
    try:
        for place in template.elements:
            elements.extend(_render_place(place, fields))
        return Label(width_mm=template.width_mm, height_mm=template.height_mm, elements=tuple(elements))
    except LabelError as error:
        raise TemplateError(f"template {template.name!r}: {error.detail}") from error


def _render_place(place: Place, fields: Mapping[str, str]) -> Iterator[Element]:
    match place:
        case TextPlace():
            yield from _render_text(place, clean_text(_fill(place.text, fields)))
        case Code128Place():
            data = _fill(place.data, fields)
            if data:
                yield _render_code128(place, data)
        case QrPlace():
            data = _fill(place.data, fields)
            if data:
                yield _render_qr(place, data)
        case LinePlace():
            yield Line(x_mm=place.x_mm, y_mm=place.y_mm, width_mm=place.width_mm, height_mm=place.height_mm)
        case BoxPlace():
            yield Box(
                x_mm=place.x_mm,
                y_mm=place.y_mm,
                width_mm=place.width_mm,
                height_mm=place.height_mm,
                thickness_mm=place.thickness_mm,
            )
        case CopyMarkPlace():
            yield CopyMark(x_mm=place.x_mm, y_mm=place.y_mm, height_mm=place.height_mm)


def _render_text(place: TextPlace, text: str) -> Iterator[Text]:
    if not text:
        return
    fitted = fit_text(
        text,
        width_mm=place.width_mm,
        height_mm=place.height_mm,
        height_mm_min=min(place.height_mm_min, place.height_mm),
        lines_max=place.lines,
        bold=place.bold,
    )
    area_mm = place.lines * place.height_mm * (LINE_PITCH if place.lines > 1 else 1.0)
    pitch_mm = fitted.height_mm * LINE_PITCH if len(fitted.lines) > 1 else fitted.height_mm
    # One shrunken line stands in the middle of its place, several start at the top.
    top_mm = place.y_mm + ((place.height_mm - fitted.height_mm) / 2 if place.lines == len(fitted.lines) == 1 else 0.0)
    for number, line in enumerate(fitted.lines):
        width_mm = text_width_mm(line, height_mm=fitted.height_mm, bold=place.bold)
        shift_mm = {"left": 0.0, "centre": (place.width_mm - width_mm) / 2, "right": place.width_mm - width_mm}
        y_mm = min(top_mm + number * pitch_mm, place.y_mm + max(0.0, area_mm - fitted.height_mm))
        yield Text(
            x_mm=_round(place.x_mm + max(0.0, shift_mm[place.align])),
            y_mm=_round(y_mm),
            height_mm=fitted.height_mm,
            text=line[:200],
            bold=place.bold,
            width_mm_max=place.width_mm,
        )


def _render_code128(place: Code128Place, data: str) -> Code128:
    modules = len(code128_modules(data)) + 2 * CODE128_QUIET_MODULES
    dots = min(place.module_dots_max, int(place.width_mm / DOT_MM / modules + 1e-9))
    if dots < CODE128_DOTS_MIN:
        needed_mm = modules * CODE128_DOTS_MIN * DOT_MM
        raise LabelError(f"the code {data!r} needs {needed_mm:.1f} mm, its place has {place.width_mm:g} mm")
    spare_mm = place.width_mm - modules * dots * DOT_MM
    bars_mm = place.height_mm - (READABLE_GAP_MM + READABLE_HEIGHT_MM if place.readable else 0.0)
    return Code128(
        x_mm=_round(place.x_mm + spare_mm / 2 + CODE128_QUIET_MODULES * dots * DOT_MM),
        y_mm=place.y_mm,
        height_mm=bars_mm,
        data=data,
        module_mm=dots * DOT_MM,
        readable=place.readable,
    )


def _render_qr(place: QrPlace, data: str) -> Qr:
    modules = qr_side(data)
    dots = int(place.size_mm / DOT_MM / modules + 1e-9)
    if dots < QR_DOTS_MIN:
        raise LabelError(f"the QR code of {len(data)} characters needs more than its {place.size_mm:g} mm")
    spare_mm = place.size_mm - modules * dots * DOT_MM
    return Qr(
        x_mm=_round(place.x_mm + spare_mm / 2),
        y_mm=_round(place.y_mm + spare_mm / 2),
        data=data,
        module_mm=dots * DOT_MM,
    )


def _fill(pattern: str, fields: Mapping[str, str]) -> str:
    names = _fields_of(pattern)
    if names and not any(fields[name].strip() for name in names):
        return ""
    return pattern.format_map({name: fields[name][:FIELD_CHARS_MAX] for name in names})


def _fields_of(pattern: str) -> list[str]:
    try:
        return [name for _, name, spec, conversion in Formatter().parse(pattern) if name is not None]
    except ValueError as error:
        raise ValueError(f"the pattern {pattern!r} has an unbalanced brace: {error}") from error


def _round(length_mm: float) -> float:
    return round(length_mm / DOT_MM) * DOT_MM
