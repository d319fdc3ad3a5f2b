"""Piece codes, label QR, product codes, ids."""

from __future__ import annotations

import pytest

from trade.ids import attempt_of, fact_order, order_of_task, parcel_of_order, task_id, want_of
from trade.piece_code import (
    SERIAL_MAX,
    CodeError,
    check_piece_code,
    label_qr,
    mint_piece_code,
    normalise_scan,
    read_label,
    read_label_qr,
)
from trade.product_code import ProductCode, ProductCodeError, read_product_code, write_product_code

CODE = mint_piece_code(101, 1)


def test_i12_a_code_is_device_serial_and_check_digit() -> None:
    assert (len(CODE), CODE[:5], CODE[5:11]) == (12, "00101", "000001")
    assert mint_piece_code(101, 2) != mint_piece_code(102, 1)
    assert check_piece_code(CODE) == CODE


@pytest.mark.parametrize(("device", "serial"), [(0, 1), (99, 1), (100_000, 1), (101, 0), (101, SERIAL_MAX + 1)])
def test_i12_who_may_not_mint(device: int, serial: int) -> None:
    with pytest.raises(CodeError) as refused:
        mint_piece_code(device, serial)
    assert refused.value.code in ("code.device_number", "code.serials_used_up")
    assert refused.value.zh
    assert refused.value.en


@pytest.mark.parametrize("typed", ["００１０１０００００１", "]C100101000001", " 00101 000001", "\u200b00101000001"])
def test_d23_full_width_marks_and_spaces_of_a_scan_are_undone(typed: str) -> None:
    assert check_piece_code(typed + CODE[-1] + "\r\n") == CODE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "code.empty"),
        ("  \r", "code.empty"),
        ("SF1234567890", "code.not_ours"),
        ("00101000001", "code.not_ours"),
        (CODE + "0", "code.not_ours"),
        ("00001000001" + "0", "code.not_ours"),
        (CODE[:-1] + str((int(CODE[-1]) + 1) % 10), "code.check_digit"),
        ("01001000001" + CODE[-1], "code.check_digit"),
    ],
)
def test_r51_a_foreign_or_misread_code_is_refused_in_both_languages(text: str, reason: str) -> None:
    with pytest.raises(CodeError) as refused:
        check_piece_code(text)
    assert refused.value.code == reason
    assert refused.value.zh
    assert refused.value.en


def test_e12_the_qr_says_where_a_piece_belongs() -> None:
    text = label_qr(
        code=CODE, task="T1001-2", order="O1001", piece_no=2, order_pieces=3, price_fen=4850, cell="A3", terminal=110
    )
    assert text == f"NH1:{CODE}:T1001-2:O1001:2/3:A3:110:4850"
    label = read_label(text.replace(":", "："))
    assert label.code == CODE
    assert label.qr is not None
    assert (label.qr.task, label.qr.piece_no, label.qr.order_pieces, label.qr.cell) == ("T1001-2", 2, 3, "A3")
    assert (label.qr.terminal, label.qr.price_fen) == (110, 4850)


def test_d16_a_single_piece_has_no_cell_and_no_terminal() -> None:
    label = read_label_qr(label_qr(code=CODE, task="T1-1", order="O1", piece_no=1, order_pieces=1, price_fen=1))
    assert label.qr is not None
    assert (label.qr.cell, label.qr.terminal) == (None, None)


def test_either_symbol_of_a_label_reads_the_same_piece() -> None:
    assert read_label(CODE).code == CODE
    assert read_label(CODE).qr is None


@pytest.mark.parametrize(
    "text",
    [
        "NH1:",
        "NH2:anything",
        "https://x",
        f"NH1:{CODE}:T1:O1:2:A3:110:1",
        f"NH1:{CODE}:T1:O1:1/1::x:1",
        f"NH1:{CODE}::O1:1/1:::1",
    ],
)
def test_a_damaged_foreign_or_newer_qr_is_refused(text: str) -> None:
    with pytest.raises(CodeError):
        read_label_qr(text)


def test_d23_a_chinese_input_method_does_not_spoil_a_qr() -> None:
    assert normalise_scan("ＮＨ１：ａ。ｂ、ｃ－ｄ％") == "NH1:a.b/c-d%"


def test_r62_the_sectors_product_code() -> None:
    code = read_product_code("国大_3F-315_P65_8821#")
    assert code == ProductCode(market="国大", floor="3F", stall="315", quote_fen=6500, style="8821#")
    assert code.stall_id == "stall:国大/3F/315"


@pytest.mark.parametrize(
    ("text", "quote_fen", "floor", "stall", "style"),
    [
        ("国大_３Ｆ－３１５_Ｐ６５．５_８８２１＃", 6550, "3F", "315", "8821#"),
        ("  万佳_B1-203_p48.05_A-77 ", 4805, "B1", "203", "A-77"),
        ("女人街_315_P9_x", 900, "", "315", "x"),
        ("国大_3F-315_8821#_P65", 6500, "3F", "315", "8821#"),
        ("国大_2F-A-12_¥P_P¥65_k", 6500, "2F", "A-12", "¥P"),
    ],
)
def test_d23_product_codes_as_people_write_them(text: str, quote_fen: int, floor: str, stall: str, style: str) -> None:
    code = read_product_code(text)
    assert (code.quote_fen, code.floor, code.stall, code.style) == (quote_fen, floor, stall, style)


def test_d23_colour_and_size_stand_in_the_code_when_it_has_them() -> None:
    code = read_product_code("国大_3F-315_P65_8821#_黑色_M_吊牌剪掉")
    assert (code.colour, code.size, code.extra) == ("黑色", "M", ("吊牌剪掉",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("x" * 201, "too_long"),
        ("8821#", "no_market"),
        ("_3F-315_P65_8821#", "no_market"),
        ("国大__P65_8821#", "no_stall"),
        ("国大_3F-_P65_8821#", "no_stall"),
        ("国大_P65_8821#", "no_stall"),
        ("国大_3F-315_8821#", "no_price"),
        ("国大_3F-315_P0_8821#", "bad_price"),
        ("国大_3F-315_P-5_8821#", "bad_price"),
        ("国大_3F-315_P65.555_8821#", "bad_price"),
        ("国大_3F-315_P10000.01_8821#", "bad_price"),
        ("国大_3F-315_P65", "no_style"),
        ("国大_3F-315_P65_", "no_style"),
    ],
)
def test_r62_a_bad_code_says_what_is_missing_and_how_to_write_it(text: str, reason: str) -> None:
    with pytest.raises(ProductCodeError) as refused:
        read_product_code(text)
    assert refused.value.reason == reason
    assert refused.value.code == f"product_code.{reason}"
    assert all((refused.value.zh, refused.value.en, "P65" in refused.value.fix, "P65" in refused.value.fix_en))


def test_the_largest_price_is_a_price() -> None:
    assert read_product_code("国大_3F-315_P10000_8821#").quote_fen == 10_000_00
    assert write_product_code(read_product_code("国大_3F-315_P65.50_8821#")) == "国大_3F-315_P65.5_8821#"


def test_ids_are_built_and_read_alike() -> None:
    assert (task_id("O1001", 2), task_id("O1001", 2, 3)) == ("T1001-2", "T1001-2.3")
    assert (want_of("T1001-2.3"), attempt_of("T1001-2.3"), attempt_of("T1001-2")) == ("T1001-2", 3, 1)
    assert (order_of_task("T1001-2.3"), order_of_task("nonsense"), parcel_of_order("O1001")) == ("O1001", None, "P1001")
    assert fact_order("9.1.0") < fact_order("10.1.0")
