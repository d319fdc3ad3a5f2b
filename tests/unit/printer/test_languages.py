"""Encoders through the virtual printers: what is encoded is parsed, burnt, and read back by zxing-cpp."""

from __future__ import annotations

import pytest

from printer.errors import LabelError, PrinterReason
from printer.label import Box, Code128, Label, Line, Picture, Qr, Text, mark_copy
from printer.languages.choose import choose_language
from printer.languages.escpos import EscPos
from printer.languages.tspl import Tspl
from printer.profiles import (
    ESCPOS_LABEL_58,
    ESCPOS_RECEIPT_58,
    ESCPOS_RECEIPT_80,
    PROFILES,
    TSPL_LABEL_58,
    TSPL_LABEL_58_RASTER,
    TSPL_WAYBILL_100,
    LanguageName,
    PrinterProfile,
)
from printer.virtual.escpos import VirtualEscPos
from printer.virtual.page import Printed, read_codes
from printer.virtual.tspl import VirtualTspl
from tests.unit.printer.samples import piece_label, return_label, waybill_label


def make(*elements: object) -> Label:
    return Label(width_mm=40, height_mm=30, elements=elements)  # type: ignore[arg-type]


def print_on(profile: PrinterProfile, label: Label, *, cut_every: int = 41) -> Printed:
    """Encode, feed in small cuts, and return the one label that came out without an error."""
    came_out: list[Printed] = []
    printer: VirtualTspl | VirtualEscPos
    if profile.language is LanguageName.TSPL:
        printer = VirtualTspl(came_out.append)
    else:
        printer = VirtualEscPos(came_out.append, width_dots=round(profile.width_mm * 8))
    job = choose_language(profile).encode(label, profile)
    for start in range(0, len(job.body), cut_every):
        assert printer.feed(job.body[start : start + cut_every]) == b""
    if not choose_language(profile).prints_while_sending:
        assert came_out == [], "nothing may print before the commit"
    printer.feed(job.commit)
    assert printer.errors == []
    assert len(came_out) == 1
    return came_out[0]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: str(profile.name))
@pytest.mark.parametrize("label", [piece_label(), mark_copy(return_label(), 2)], ids=["piece", "return"])
def test_a_label_comes_out_with_its_codes(profile: PrinterProfile, label: Label) -> None:
    printed = print_on(profile, label)
    (code,) = [element.data for element in label.elements if isinstance(element, Code128)]
    (qr,) = [element.data for element in label.elements if isinstance(element, Qr)]
    assert (printed.codes, printed.qr) == ((code,), (qr,))
    assert set(read_codes(printed.image)) == {("code128", code), ("qr", qr)}


def test_a_waybill_comes_out_with_its_texts() -> None:
    printed = print_on(TSPL_WAYBILL_100, waybill_label())
    assert set(read_codes(printed.image)) == {("code128", "78812345678901"), ("qr", "78812345678901")}
    assert {"中通快递", "570-A12 03-881", "欧阳靖雯 138****6672", "收"} <= set(printed.text)


def test_tspl_is_what_the_manual_says() -> None:
    label = make(
        Text(x_mm=1, y_mm=1, height_mm=6, text="档口￥"),
        Code128(x_mm=7, y_mm=20, height_mm=6, data="000010000017"),
        Qr(x_mm=25, y_mm=2, data="N1"),
        Line(x_mm=0, y_mm=18, width_mm=40, height_mm=0.25),
        Box(x_mm=1, y_mm=10, width_mm=5, height_mm=5),
    )
    job = Tspl().encode(label, TSPL_LABEL_58)
    assert job.commit == b"PRINT 1,1\r\n"
    assert job.body.split(b"\r\n") == [
        b"",
        b"SIZE 40 mm,30 mm",
        b"GAP 2 mm,0 mm",
        b"DIRECTION 1",
        b"REFERENCE 0,0",
        b"DENSITY 8",
        b"SET TEAR ON",
        b"SET REPRINT OFF",
        b"SET PRINTKEY OFF",
        b"CLS",
        b'TEXT 8,8,"TSS24.BF2",0,2,2,"' + "档口￥".encode("gb18030") + b'"',
        b'BARCODE 56,160,"128",48,0,0,2,2,"000010000017"',
        b'QRCODE 200,16,M,3,A,0,"N1"',
        b"BAR 0,144,320,2",
        b"BOX 8,80,47,119,2",
        b"",
    ]


def test_tspl_text_uses_the_built_in_font_and_strikes_bold_twice() -> None:
    body = Tspl().encode(make(Text(x_mm=1, y_mm=1, height_mm=3, text="档口￥", bold=True)), TSPL_LABEL_58).body
    text = "档口￥".encode("gb18030")
    assert b'TEXT 8,8,"TSS24.BF2",0,1,1,"' + text + b'"\r\nTEXT 9,8,"TSS24.BF2",0,1,1,"' + text + b'"\r\n' in body
    assert b"BITMAP" not in body


@pytest.mark.parametrize("text", ["㐂", "¥5", '5"宽', "😀", "a~!b", "\\[x", "䶮"])
def test_text_the_font_cannot_show_or_quote_goes_as_dots(text: str) -> None:
    label = make(Text(x_mm=1, y_mm=1, height_mm=3, text=text))
    for profile in (TSPL_LABEL_58, TSPL_LABEL_58_RASTER):
        printed = print_on(profile, label)
        assert printed.text == ()
        assert printed.image.getextrema() == (0, 255)


def test_tspl_pictures_burn_where_the_bit_is_zero() -> None:
    printed = print_on(TSPL_LABEL_58, make(Picture(x_mm=1, y_mm=2, width_px=8, height_px=2, bits=b"\x80\x01")))
    black = {(x, y) for x in range(30) for y in range(30) if printed.image.getpixel((x, y)) == 0}
    assert black == {(8, 16), (15, 17)}


def test_a_picture_cannot_erase_its_neighbour() -> None:
    line, picture = (
        Line(x_mm=2.25, y_mm=1, width_mm=1, height_mm=1),
        Picture(x_mm=1, y_mm=1, width_px=9, height_px=8, bits=b"\xff\x80" * 8),
    )
    assert print_on(TSPL_LABEL_58, make(line, picture)).image.getpixel((18, 10)) == 0


def test_escpos_switches_to_chinese_and_uses_set_c() -> None:
    label = make(
        Text(x_mm=1, y_mm=1, height_mm=3, text="￥128〇"), Code128(x_mm=7, y_mm=10, height_mm=6, data="000010000017")
    )
    body = EscPos().encode(label, ESCPOS_RECEIPT_58).body
    assert body.startswith(b"\x1b@\x1c&")
    assert b"\x1dv0" in body, "〇 lies outside GB2312: its line goes as dots"
    assert b"\x1dk\x49\x08{C\x00\x00\x0a\x00\x00\x11" in body
    printed = print_on(ESCPOS_RECEIPT_58, label)
    assert printed.codes == ("000010000017",)


def test_escpos_keeps_what_python_escpos_garbles() -> None:
    printed = print_on(ESCPOS_RECEIPT_58, make(Text(x_mm=1, y_mm=1, height_mm=3, text="￥128.00")))
    assert printed.text == ("￥128.00",)


@pytest.mark.parametrize("data", ["78812345678901", "YT88123456789", "A{B}1", "12345", "SF1234567890123"])
def test_escpos_code128_of_every_shape_reads_back(data: str) -> None:
    label = Label(width_mm=70, height_mm=30, elements=(Code128(x_mm=6, y_mm=1, height_mm=9, data=data),))
    printed = print_on(ESCPOS_RECEIPT_80, label)
    assert printed.codes == (data,)
    assert read_codes(printed.image) == [("code128", data)]


def test_a_label_wider_than_the_printer_is_refused_before_a_byte() -> None:
    for profile in (TSPL_LABEL_58, ESCPOS_LABEL_58):
        with pytest.raises(LabelError) as caught:
            choose_language(profile).encode(waybill_label(), profile)
        assert caught.value.code == "printer.does_not_fit"


@pytest.mark.parametrize(
    ("answer", "printing", "reasons"),
    [
        (b"\x00", False, ()),
        (b"\x20", True, ()),
        (b"\x04", False, (PrinterReason.OUT_OF_PAPER,)),
        (b"\x05", False, (PrinterReason.LID_OPEN, PrinterReason.OUT_OF_PAPER)),
        (b"\x41", False, (PrinterReason.LID_OPEN,)),
        (b"\x80", False, (PrinterReason.BUSY,)),
        (b"", False, (PrinterReason.NO_ANSWER,)),
    ],
)
def test_tspl_status(answer: bytes, printing: bool, reasons: tuple[PrinterReason, ...]) -> None:
    status = Tspl().parse_status(answer, TSPL_LABEL_58)
    assert (status.printing, status.reasons) == (printing, reasons)


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (b"\x12\x12", ()),
        (b"\x32\x72", (PrinterReason.OUT_OF_PAPER,)),
        (b"\x16\x12", (PrinterReason.LID_OPEN,)),
        (b"\x52\x12", (PrinterReason.JAMMED,)),
        (b"\x00", (PrinterReason.WRONG_LANGUAGE,)),
        (b"\x12", (PrinterReason.NO_ANSWER,)),
        (b"", (PrinterReason.NO_ANSWER,)),
    ],
)
def test_escpos_status(answer: bytes, reasons: tuple[PrinterReason, ...]) -> None:
    assert EscPos().parse_status(answer, ESCPOS_RECEIPT_58).reasons == reasons


def test_virtual_printers_record_what_a_real_one_would_skip_in_silence() -> None:
    tspl, escpos = VirtualTspl(lambda _: None), VirtualEscPos(lambda _: None)
    tspl.feed(
        b'TEXT 1,1,"TSS24.BF2",0,1,1,"x"\r\nSIZE 40 mm,30 mm\r\nCLS\r\nHELLO\r\nTEXT 400,1,"TSS24.BF2",0,1,1,"x"\r\n'
    )
    assert [error.split(":")[0][:12] for error in tspl.errors] == ["TEXT before ", "b'HELLO'", "TEXT at 400,"]
    escpos.feed(b"\x1bZ")
    assert escpos.errors == ["unknown command b'\\x1bZ'"]


def test_virtual_printers_answer_about_paper_and_print_nothing_without_it() -> None:
    came_out: list[Printed] = []
    tspl, escpos = VirtualTspl(came_out.append), VirtualEscPos(came_out.append)
    for printer, profile in ((tspl, TSPL_LABEL_58), (escpos, ESCPOS_RECEIPT_58)):
        language = choose_language(profile)
        assert language.parse_status(printer.feed(language.status_query), profile).is_ready
        printer.is_out_of_paper = True
        job = language.encode(piece_label(), profile)
        printer.feed(job.body + job.commit)
        assert came_out == []
        for answer in (
            language.parse_status(printer.feed(language.status_query), profile),
            language.parse_confirm(printer.feed(language.confirm_query), profile),
        ):
            assert answer.reasons == (PrinterReason.OUT_OF_PAPER,)


def test_a_cut_link_tears_an_escpos_label_and_leaves_tspl_clean() -> None:
    came_out: list[Printed] = []
    tspl, escpos = VirtualTspl(came_out.append), VirtualEscPos(came_out.append)
    for printer, profile in ((tspl, TSPL_LABEL_58), (escpos, ESCPOS_RECEIPT_58)):
        job = choose_language(profile).encode(piece_label(), profile)
        printer.feed(job.body[:-10])
        printer.drop_link()
        assert came_out == []
        printer.feed(job.body + job.commit)
        assert printer.errors == []
        assert len(came_out) == 1
        came_out.clear()
    assert escpos.torn == 1
