"""A device whose file was damaged got a new number: the platform's page names what may be missing, by label numbers.

The device tells how many labels it had minted and which of them it saved. A label that is neither saved nor known here was printed,
perhaps, and nobody has its purchase: the bag itself is the second copy, and scan-in finds it (an orphan, which a supervisor may adopt).
REL-R12.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from server import commands as c
from server import devices
from server import schema as s
from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch
from trade.piece_code import mint_piece_code

CODES_TOLD_MAX: Final = 60


def renumber(b: Batch, command: c.DeviceRenumber) -> dict[str, Any]:
    """Give the device its number; when its file was damaged, tell the platform what may be missing.

    Raises:
        RefusedError: see `devices.renumber`.
    """
    told = devices.renumber(b, command)
    if command.damaged:
        missing = may_be_missing(b, command.device, serial=command.serial, saved=command.labels)
        shown = "、".join(missing[:CODES_TOLD_MAX]) + (" …" if len(missing) > CODES_TOLD_MAX else "")
        b.discrepancy(
            "device_damaged", f"device:{command.device}", PLATFORM, device=command.device, new=told["number"],
            saved=len(command.labels), count=len(missing), missing=shown or "—",
        )  # fmt: skip
    return told


def may_be_missing(b: Batch, device: int, *, serial: int, saved: list[str]) -> list[str]:
    """Return the codes a device minted up to `serial` that are neither saved on it nor in any fact here."""
    minted = {str(mint_piece_code(device, n)) for n in range(1, serial + 1)}
    prefix = f"{device:05d}"
    known = set(b.conn.execute(select(st.piece.c.code).where(st.piece.c.code.like(f"{prefix}%"))).scalars())
    rows = b.conn.execute(select(s.state.c.subject).where(s.state.c.subject.like(f"piece:{prefix}%"))).scalars()
    known |= {subject.partition(":")[2] for subject in rows}
    return sorted(minted - known - set(saved))
