"""Show a label on a screen as a PNG: the same dots a raster printer would burn.

For the platform's template page and the "what will it look like" of the clients. Needs Pillow through `printer.raster`.
"""

from __future__ import annotations

import io

from printer.label import Label, mark_copy
from printer.raster import draw_label


def preview_png(label: Label, *, dots_per_mm: float = 8, copy: int = 1) -> bytes:
    """Return the label as PNG bytes, one pixel a dot; `copy` above 1 shows the reprint mark."""
    out = io.BytesIO()
    draw_label(mark_copy(label, copy), dots_per_mm=dots_per_mm).convert("L").save(out, format="PNG", optimize=True)
    return out.getvalue()
