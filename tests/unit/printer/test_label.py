"""Labels, text fitting, templates, preview: nothing leaves the paper, everything on it can be read."""

from __future__ import annotations

import io

import pytest
import zxingcpp
from PIL import Image

from printer.default_templates import DEFAULT_TEMPLATES, PIECE_LABEL
from printer.errors import LabelError, PrinterReason, TemplateError, find_reason, message_en, message_zh
from printer.fitting import clean_text, cut_text, fit_text, text_halves, wrap_text
from printer.label import (
    Box,
    Code128,
    CopyMark,
    Label,
    Line,
    Picture,
    Qr,
    Text,
    label_from_json,
    label_to_json,
    mark_copy,
)
from printer.preview import preview_png
from printer.raster import draw_label, has_glyph
from printer.symbols import code128_modules, encode_code128, qr_matrix
from printer.template import LabelTemplate, TextPlace, render_template
from printer.virtual.page import read_codes
from tests.unit.printer.samples import PIECE_FIELDS, piece_label, return_label, waybill_label


def make(*elements: object) -> Label:
    return Label(width_mm=40, height_mm=30, elements=elements)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("element", "said"),
    [
        (Text(x_mm=30, y_mm=1, height_mm=4, text="太长了的字"), "off the 40 x 30 mm label"),
        (Text(x_mm=1, y_mm=28, height_mm=4, text="低"), "off the 40 x 30 mm label"),
        (Text(x_mm=1, y_mm=1, height_mm=4, text="两字", width_mm_max=5), "5 mm are free"),
        (Text(x_mm=1, y_mm=1, height_mm=4, text="a\nb"), "control characters"),
        (Text(x_mm=1, y_mm=1, height_mm=4, text=""), "1 to 200 characters"),
        (Text(x_mm=-1, y_mm=1, height_mm=4, text="x"), "must not be negative"),
        (Code128(x_mm=5, y_mm=1, height_mm=5, data="ABCDEFGHIJKL"), "off the 40 x 30 mm label"),
        (Code128(x_mm=1, y_mm=1, height_mm=5, data="1234"), "too near to the edge"),
        (Code128(x_mm=5, y_mm=1, height_mm=5, data="码"), "printable ASCII"),
        (Qr(x_mm=30, y_mm=1, data="x" * 60), "off the 40 x 30 mm label"),
        (Qr(x_mm=1, y_mm=1, data=""), "1 to 300 bytes"),
        (Line(x_mm=1, y_mm=1, width_mm=0, height_mm=1), "must not be zero"),
        (Box(x_mm=1, y_mm=1, width_mm=5, height_mm=5, thickness_mm=3), "thickness"),
        (Picture(x_mm=1, y_mm=1, width_px=9, height_px=2, bits=b"abc"), "needs 4 bytes"),
    ],
)
def test_a_wrong_element_is_refused_with_a_reason(element: object, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        make(element)


def test_twelve_digits_fit_forty_millimetres_at_two_dots_only_in_set_c() -> None:
    assert len(code128_modules("000010000017")) == 101
    make(Code128(x_mm=7, y_mm=20, height_mm=6, data="000010000017", readable=True))


@pytest.mark.parametrize(
    "data", ["12", "1", "A", "123", "A1234567", "1234567A", "AB12C345678", "99999999999999", "a-b_c~"]
)
def test_our_code128_is_read_by_another_implementation(data: str) -> None:
    modules = code128_modules(data)
    image = Image.new("L", (len(modules) + 40, 40), 255)
    for x, burns in enumerate(modules):
        if burns:
            image.paste(0, (x + 20, 0, x + 21, 40))
    image = image.resize((image.width * 2, image.height), Image.Resampling.NEAREST)
    assert read_codes(image) == [("code128", data)]
    written = zxingcpp.create_barcode(data, zxingcpp.BarcodeFormat.Code128)
    width = zxingcpp.write_barcode_to_image(written, scale=1, add_quiet_zones=False).shape[1]
    assert len(modules) <= width, "we need no more room than another encoder"


def test_code128_check_word_is_what_the_standard_says() -> None:
    assert encode_code128("PJJ123C")[-2] == 55  # the textbook example is 54 from start A (103); start B is 104


@pytest.mark.parametrize("label", [piece_label(), return_label(), waybill_label()])
def test_json_gives_the_equal_label_back(label: Label) -> None:
    assert label_from_json(label_to_json(label)) == label


def test_json_keeps_every_kind_of_element() -> None:
    label = make(
        Text(x_mm=1, y_mm=1, height_mm=3, text="字", bold=True, width_mm_max=9.5),
        Code128(x_mm=6, y_mm=5, height_mm=4, data="1234", readable=True),
        Qr(x_mm=25, y_mm=12, data="中"),
        Line(x_mm=0, y_mm=20, width_mm=3, height_mm=0.25),
        Box(x_mm=0, y_mm=22, width_mm=3, height_mm=3),
        Picture(x_mm=5, y_mm=22, width_px=9, height_px=1, bits=b"\xff\x80"),
        CopyMark(x_mm=10, y_mm=22, height_mm=2),
    )
    assert label_from_json(label_to_json(label)) == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"v":2,"width_mm":40,"height_mm":30,"elements":[]}',
        '{"v":1,"width_mm":40,"height_mm":30,"elements":[{"kind":"hologram"}]}',
        '{"v":1,"width_mm":40,"height_mm":30,"elements":[{"kind":"line","x_mm":1,"y_mm":1,"width_mm":1,"height_mm":1,"z":1}]}',
        '{"v":1,"width_mm":40,"height_mm":30,"elements":[{"kind":"line","x_mm":"left"}]}',
    ],
)
def test_json_that_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(LabelError):
        label_from_json(text)


def test_a_reprint_shows_its_number_and_the_first_copy_does_not() -> None:
    texts = [
        [element.text for element in mark_copy(piece_label(), copy).elements if isinstance(element, Text)]
        for copy in (1, 2, 12)
    ]
    assert [[text for text in found if text.startswith("R")] for found in texts] == [[], ["R2"], ["R9"]]


def test_text_is_measured_in_half_cells() -> None:
    assert (text_halves("B1-203"), text_halves("香芋紫"), text_halves("￥1")) == (6, 6, 3)


def test_wrapping_keeps_words_and_cutting_ends_with_an_ellipsis() -> None:
    assert wrap_text("浙江省 No.12 Road", halves_max=7) == ("浙江省", "No.12", "Road")
    assert wrap_text("ABCDEFGH", halves_max=3) == ("ABC", "DEF", "GH")
    assert cut_text("香芋紫加厚", halves_max=7) == "香芋…"
    assert cut_text("香芋紫加厚", halves_max=1) == ""


def test_text_shrinks_before_it_is_cut() -> None:
    assert fit_text("香芋紫", width_mm=9, height_mm=4, height_mm_min=2, lines_max=1).height_mm == 3
    cut = fit_text("香芋紫加厚升级版", width_mm=9, height_mm=4, height_mm_min=3, lines_max=1)
    assert (cut.lines, cut.height_mm) == (("香芋…",), 3)
    assert clean_text("a\tb\u200b\n c\ud800") == "a b c"


@pytest.mark.parametrize("template", DEFAULT_TEMPLATES.values(), ids=lambda template: str(template.name))
def test_absurdly_long_fields_never_leave_the_label(template: LabelTemplate) -> None:
    codes = {"code": "000010000017", "waybill": "78812345678901", "qr": "N1|000010000017"}
    fields = {name: codes.get(name, "很长的中文and English 混排" * 12) for name in template.fields()}
    label = render_template(template, fields)  # a Label that exists fits its paper
    assert any(isinstance(element, Text) and element.text.endswith("…") for element in label.elements)


def test_a_long_colour_cannot_push_the_size_out() -> None:
    label = render_template(PIECE_LABEL, PIECE_FIELDS | {"colour": "香芋紫" * 20, "size": "XL"})
    assert "XL" in [element.text for element in label.elements if isinstance(element, Text)]


def test_a_template_says_what_it_lacks() -> None:
    with pytest.raises(TemplateError, match=r"asks for cell, count; the known fields are"):
        render_template(
            PIECE_LABEL, {key: value for key, value in PIECE_FIELDS.items() if key not in ("cell", "count")}
        )
    with pytest.raises(TemplateError, match=r"needs .* mm, its place has 40 mm"):
        render_template(PIECE_LABEL, PIECE_FIELDS | {"code": "ABCDEFGHIJKLMNOPQRST"})
    with pytest.raises(ValueError, match="not a plain field name"):
        LabelTemplate(
            name="x",
            width_mm=40,
            height_mm=30,
            elements=(TextPlace(x_mm=1, y_mm=1, width_mm=9, height_mm=3, text="{stall.__class__}"),),
        )


def test_empty_fields_print_nothing_not_their_decoration() -> None:
    label = render_template(PIECE_LABEL, PIECE_FIELDS | {"price": "", "order_tail": " "})
    assert not any(isinstance(element, Text) and "￥" in element.text for element in label.elements)


def test_templates_survive_their_json() -> None:
    for template in DEFAULT_TEMPLATES.values():
        assert LabelTemplate.model_validate_json(template.model_dump_json()) == template


@pytest.mark.parametrize(
    ("label", "codes"),
    [
        (piece_label(), {("code128", "000010000017"), ("qr", "N1|000010000017|T7|2/3")}),
        (waybill_label(), {("code128", "78812345678901"), ("qr", "78812345678901")}),
    ],
)
def test_the_preview_can_be_scanned(label: Label, codes: set[tuple[str, str]]) -> None:
    image = Image.open(io.BytesIO(preview_png(label)))
    assert image.size == (round(label.width_mm * 8), round(label.height_mm * 8))
    assert set(read_codes(image)) == codes


def test_a_character_without_glyph_is_a_geta_mark_not_an_empty_box() -> None:
    assert has_glyph("档") and not has_glyph("\U0001f600")  # noqa: PT018
    smile, geta = (draw_label(make(Text(x_mm=1, y_mm=1, height_mm=3, text=text))) for text in ("\U0001f600", "〓"))
    assert smile.tobytes() == geta.tobytes()


def test_a_picture_keeps_its_dots() -> None:
    image = draw_label(make(Picture(x_mm=0, y_mm=0, width_px=8, height_px=2, bits=b"\x80\x01")))
    black = {(x, y) for x in range(10) for y in range(3) if image.getpixel((x, y)) == 0}
    assert black == {(0, 0), (7, 1)}


def test_every_reason_has_words_and_a_code() -> None:
    for reason in PrinterReason:
        assert message_zh(reason)
        assert message_en(reason)
        assert find_reason(reason.code) is reason
    assert find_reason("printer.of_the_future") is None
    assert find_reason(None) is None


def test_qr_matrix_is_square() -> None:
    matrix = qr_matrix("档口 B1-203")
    assert all(len(row) == len(matrix) for row in matrix)
