"""What each kind of printer can do: language, width, fonts, and how its link likes to be fed.

A profile is a value; the platform may ship more of them as settings. The named ones rest on public evidence (manuals,
drivers, published tables of working apps), not on hardware; docs/decisions says which. Lengths are millimetres,
times milliseconds, sizes bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from printer.errors import PrinterReason


class LanguageName(StrEnum):
    """The command languages we encode."""

    TSPL = "tspl"
    ESCPOS = "escpos"


class Paper(StrEnum):
    """How the printer finds the next label."""

    GAP = "gap"
    BLACK_MARK = "black_mark"
    CONTINUOUS = "continuous"


class Drawing(StrEnum):
    """TEXT uses the printer's own fonts and codes (30 times fewer bytes); RASTER sends every label as dots."""

    TEXT = "text"
    RASTER = "raster"


class Coverage(StrEnum):
    """Which characters the printer's Chinese font surely holds. What lies outside is sent as dots."""

    GB2312 = "gb2312"
    GBK = "gbk"


class WriteMode(StrEnum):
    """BLE: ask for an answer to every chunk where the printer offers it, or only to the last one."""

    ACKNOWLEDGED = "acknowledged"
    PACED = "paced"


# ESC ! ? of the TSC family; other makers move the cover bit, so the map belongs to the profile.
TSPL_STATUS_BITS: Final[tuple[tuple[int, PrinterReason], ...]] = (
    (0x01, PrinterReason.LID_OPEN),
    (0x02, PrinterReason.JAMMED),
    (0x04, PrinterReason.OUT_OF_PAPER),
    (0x10, PrinterReason.PAUSED),
    (0x40, PrinterReason.LID_OPEN),
)


class PrinterProfile(BaseModel):
    """One kind of printer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    language: LanguageName
    width_mm: float = Field(gt=0, le=120)
    dots_per_mm: float = Field(default=8, ge=5, le=24)
    drawing: Drawing = Drawing.TEXT
    paper: Paper = Paper.GAP
    gap_mm: float = Field(default=2.0, ge=0, le=20)
    density: int = Field(default=8, ge=0, le=15)
    speed: int | None = Field(default=None, ge=1, le=12)
    coverage: Coverage = Coverage.GB2312
    fonts: tuple[tuple[int, str], ...] = ((16, "TSS16.BF2"), (24, "TSS24.BF2"))
    has_status: bool = True
    can_cut: bool = False
    status_bits: tuple[tuple[int, PrinterReason], ...] = TSPL_STATUS_BITS
    chunk_bytes_max: int = Field(default=180, ge=20, le=244)
    write_mode: WriteMode = WriteMode.ACKNOWLEDGED
    pace_ms: int = Field(default=10, ge=0, le=200)
    ble_service: str | None = None


TSPL_LABEL_58: Final = PrinterProfile(name="tspl-label-58", language=LanguageName.TSPL, width_mm=58)
"""Pocket and desktop label printers of the Gprinter/TSC kind (two inches), by BLE or TCP."""

TSPL_WAYBILL_100: Final = PrinterProfile(
    name="tspl-waybill-100", language=LanguageName.TSPL, width_mm=104, chunk_bytes_max=244, density=10
)
"""Four-inch waybill printers: KuaiMai, Gprinter, AiYin."""

TSPL_LABEL_58_RASTER: Final = TSPL_LABEL_58.model_copy(
    update={"name": "tspl-label-58-raster", "drawing": Drawing.RASTER}
)
"""TSPL printers without a Chinese font."""

TSPL_TOPRINT: Final = PrinterProfile(
    name="tspl-toprint",
    language=LanguageName.TSPL,
    width_mm=50,
    drawing=Drawing.RASTER,
    write_mode=WriteMode.PACED,
    chunk_bytes_max=180,
    pace_ms=10,
    has_status=False,
)
"""ToPrint-like pocket printers: TSPL with dots only, unacknowledged writes of 180 bytes every 10 ms, no answers."""

TSPL_ELEPH: Final = TSPL_TOPRINT.model_copy(
    update={
        "name": "tspl-eleph",
        "chunk_bytes_max": 20,
        "pace_ms": 30,
        "ble_service": "000018f0-0000-1000-8000-00805f9b34fb",
    }
)
"""Eleph-label pocket printers: 20 bytes every 30 ms."""

ESCPOS_RECEIPT_58: Final = PrinterProfile(
    name="escpos-receipt-58",
    language=LanguageName.ESCPOS,
    width_mm=48,
    paper=Paper.CONTINUOUS,
    fonts=((24, "A"),),
    chunk_bytes_max=100,
    pace_ms=20,
)
"""58 mm receipt printers on plain rolls: text flows line by line, 48 mm are printable."""

ESCPOS_RECEIPT_80: Final = ESCPOS_RECEIPT_58.model_copy(
    update={"name": "escpos-receipt-80", "width_mm": 72.0, "can_cut": True}
)
"""80 mm receipt printers with a cutter."""

ESCPOS_LABEL_58: Final = ESCPOS_RECEIPT_58.model_copy(
    update={"name": "escpos-label-58", "paper": Paper.GAP, "drawing": Drawing.RASTER}
)
"""ESC/POS printers on label rolls: the layout must hold, so the whole label goes as dots, then GS FF."""

PROFILES: Final[dict[str, PrinterProfile]] = {
    profile.name: profile
    for profile in (
        TSPL_LABEL_58,
        TSPL_WAYBILL_100,
        TSPL_LABEL_58_RASTER,
        TSPL_TOPRINT,
        TSPL_ELEPH,
        ESCPOS_RECEIPT_58,
        ESCPOS_RECEIPT_80,
        ESCPOS_LABEL_58,
    )
}
