"""The paper of a virtual printer: a 1-bit page, what was drawn on it, and how to read codes back from a picture.

Symbols are drawn by the zxing-cpp writer, another implementation than the one our own raster uses, so a label that
decodes here proves the command and not our own module tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import zxingcpp
from PIL import Image
from typing_extensions import Buffer

from printer.raster import burn


@dataclass(slots=True, kw_only=True)
class Page:
    """One label being drawn. `codes`, `qr` and `text` list what the commands asked for, in their order."""

    image: Image.Image
    codes: list[str] = field(default_factory=list)
    qr: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def burn(self, picture: Image.Image, x: int, y: int) -> None:
        """Add ink."""
        burn(self.image, picture, x, y)

    def add_text(self, text: str) -> None:
        """List a text once, though bold is struck twice."""
        if text and (not self.text or self.text[-1] != text):
            self.text.append(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A label that came out."""

    image: Image.Image
    codes: tuple[str, ...]
    qr: tuple[str, ...]
    text: tuple[str, ...]


def blank_page(width_dots: int, height_dots: int) -> Page:
    """Return white paper."""
    return Page(image=Image.new("1", (width_dots, height_dots), 1))


def finish_page(page: Page) -> Printed:
    """Return the printed label: the codes its commands named, then those only its dots carry."""
    seen = read_codes(page.image)
    codes = [*page.codes, *(text for kind, text in seen if kind == "code128" and text not in page.codes)]
    qr = [*page.qr, *(text for kind, text in seen if kind == "qr" and text not in page.qr)]
    return Printed(image=page.image, codes=tuple(codes), qr=tuple(qr), text=tuple(page.text))


def read_codes(picture: Path | Image.Image) -> list[tuple[str, str]]:
    """Return [("code128" | "qr", text)] of every symbol zxing-cpp reads in a PNG file or picture."""
    image = Image.open(picture) if isinstance(picture, Path) else picture
    # A margin, as a camera or a scanner sees one around the paper.
    grey = Image.new("L", (image.width + 40, image.height + 40), 255)
    grey.paste(image.convert("L"), (20, 20))
    formats = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.Code128, zxingcpp.BarcodeFormat.QRCode])
    # No label of ours lies on its side, is white on black or larger than its modules need; looking for that doubles the time.
    found = zxingcpp.read_barcodes(grey, formats=formats, try_rotate=False, try_invert=False, try_downscale=False)
    return [("qr" if result.format == zxingcpp.BarcodeFormat.QRCode else "code128", result.text) for result in found]


def draw_written_code128(data: str, module_dots: int, height_dots: int) -> Image.Image:
    """Return a Code 128 symbol drawn by zxing-cpp, which chooses its code sets itself."""
    barcode = zxingcpp.create_barcode(data, zxingcpp.BarcodeFormat.Code128)
    return _resize_modules(barcode, module_dots, height_dots)


def draw_written_qr(data: str, module_dots: int, *, level: str = "M") -> Image.Image:
    """Return a QR code drawn by zxing-cpp."""
    barcode = zxingcpp.create_barcode(data, zxingcpp.BarcodeFormat.QRCode, ec_level=level)
    return _resize_modules(barcode, module_dots, None)


def _resize_modules(barcode: zxingcpp.Barcode, module_dots: int, height_dots: int | None) -> Image.Image:
    written = zxingcpp.write_barcode_to_image(barcode, scale=1, add_quiet_zones=False)
    rows, columns = written.shape
    # The stub does not say so, but the picture offers the buffer protocol: one grey byte a pixel.
    image = Image.frombytes("L", (columns, rows), bytes(memoryview(cast(Buffer, written))))
    if height_dots is None:
        size = (columns * module_dots, rows * module_dots)
    else:
        size = (columns * module_dots, height_dots)
    return image.resize(size, Image.Resampling.NEAREST).point([0] * 128 + [255] * 128).convert("1")
