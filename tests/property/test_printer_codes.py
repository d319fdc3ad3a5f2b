"""Any text on any label: encoded, parsed and burnt, nothing raises, nothing leaves the paper, codes read back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from printer.default_templates import PIECE_LABEL
from printer.fitting import clean_text, fit_text, text_width_mm
from printer.label import Code128, Label, Text, label_from_json, label_to_json
from printer.languages.choose import choose_language
from printer.profiles import ESCPOS_RECEIPT_80, TSPL_LABEL_58, LanguageName
from printer.symbols import code128_modules
from printer.template import render_template
from printer.virtual.escpos import VirtualEscPos
from printer.virtual.page import Printed, read_codes
from printer.virtual.tspl import VirtualTspl

# Mostly what stalls write, then everything Unicode has.
CHINESE = st.text(
    alphabet='南城广场档口区楼香芋紫加厚冰丝防晒衣色差退ＡＢ￥¥〇㐂…“”·"\\~!?#/- 0123456789XLMabc', max_size=40
)
ANY_TEXT = st.one_of(CHINESE, st.text(max_size=40))
PRINTABLE = st.text(alphabet=[chr(code) for code in range(32, 127)], min_size=1, max_size=24)


def print_on(profile_name: LanguageName, label: Label, cut_every: int) -> tuple[list[Printed], list[str]]:
    came_out: list[Printed] = []
    profile = TSPL_LABEL_58 if profile_name is LanguageName.TSPL else ESCPOS_RECEIPT_80
    printer: VirtualTspl | VirtualEscPos = (
        VirtualTspl(came_out.append)
        if profile_name is LanguageName.TSPL
        else VirtualEscPos(came_out.append, width_dots=round(profile.width_mm * 8))
    )
    job = choose_language(profile).encode(label, profile)
    sent = job.body + job.commit
    for start in range(0, len(sent), cut_every):
        printer.feed(sent[start : start + cut_every])
    return came_out, printer.errors


@settings(max_examples=60)
@given(
    fields=st.fixed_dictionaries(
        dict.fromkeys(sorted(PIECE_LABEL.fields() - {"code", "qr"}), ANY_TEXT)
        | {"code": st.from_regex(r"[0-9]{12}", fullmatch=True), "qr": CHINESE | PRINTABLE}
    ),
    language=st.sampled_from(LanguageName),
    cut_every=st.integers(1, 300),
)
def test_a_piece_label_of_any_text_prints_with_its_code(
    fields: dict[str, str], language: LanguageName, cut_every: int
) -> None:
    label = render_template(PIECE_LABEL, fields)
    assert label_from_json(label_to_json(label)) == label
    came_out, errors = print_on(language, label, cut_every)
    assert errors == []
    (printed,) = came_out
    assert printed.codes == (fields["code"],)
    assert ("code128", fields["code"]) in read_codes(printed.image)
    if fields["qr"].strip():
        # What the command carried; a reader of a lone "¥" may take its two bytes for another character, and says so beside it.
        assert printed.qr[0] == fields["qr"]


@settings(max_examples=150)
@given(text=CHINESE)
def test_chinese_text_survives_the_wire_or_goes_as_dots(text: str) -> None:
    line = clean_text(text)[:15]
    if not line:
        return
    label = Label(width_mm=48, height_mm=30, elements=(Text(x_mm=0.5, y_mm=1, height_mm=3, text=line),))
    for language in LanguageName:
        came_out, errors = print_on(language, label, 7)
        assert errors == []
        (printed,) = came_out
        assert printed.text in ((line,), ())
        sendable = all(char not in line for char in '"¥㐂〇\\~')
        assert not sendable or printed.text == (line,), "plain GB2312 text must take the fast way"


@settings(max_examples=300)
@given(data=PRINTABLE)
def test_code128_of_any_printable_text_reads_back(data: str) -> None:
    modules = len(code128_modules(data))
    if modules > 270:
        return
    label = Label(
        width_mm=58, height_mm=10, elements=(Code128(x_mm=2.5, y_mm=1, height_mm=8, data=data, module_mm=0.125),)
    )
    (printed,), errors = print_on(LanguageName.TSPL, label, 999)
    assert errors == []
    assert printed.codes[0] == data


@settings(max_examples=300)
@given(
    text=ANY_TEXT,
    width_mm=st.floats(2, 60),
    height_mm=st.sampled_from([2.0, 3.0, 4.0, 6.0, 12.0]),
    lines_max=st.integers(1, 4),
    bold=st.booleans(),
)
def test_fitted_text_is_inside_its_area(
    text: str, width_mm: float, height_mm: float, lines_max: int, bold: bool
) -> None:
    fitted = fit_text(
        clean_text(text), width_mm=width_mm, height_mm=height_mm, height_mm_min=2, lines_max=lines_max, bold=bold
    )
    for line in fitted.lines:
        assert text_width_mm(line, height_mm=fitted.height_mm, bold=bold) <= width_mm + 1e-6
    assert len(fitted.lines) * fitted.height_mm <= lines_max * height_mm + 1e-6
