"""The facts that are measured: what a terminal says at the warehouse's door, what a picker says at a stall."""

from __future__ import annotations

from typing import Any

from sync_core.facts import Fact
from trade.kinds import LabelQr, Means, PieceBought, ScannedIn
from trade.piece_code import mint_piece_code

PICKER = 99_000
"""The number in the codes of scanned labels: a phone of another house, so that nothing explains them."""


def scan(device: int, serial: int) -> Fact:
    """A label scanned in, about 290 bytes of payload with its QR, unlike every other one."""
    order = f"O{device}{serial:05d}"
    qr = LabelQr(
        task=f"{order}-1",
        order=order,
        piece_no=1,
        order_pieces=2,
        cell=f"A{serial % 40 + 1:02d}",
        terminal=device,
        price_fen=4_850 + serial % 100,
    )
    # One code per terminal and serial: the six digits of a code's serial are shared out among the terminals.
    code = mint_piece_code(PICKER + device % 1_000, serial)
    return ScannedIn(cell=qr.cell, qr=qr).about(f"piece:{code}")


def purchase(subject: str, state: dict[str, Any], *, device: int, serial: int, price_fen: int) -> Fact:
    """The purchase of a task as its state tells it."""
    assigned = state["assigned"]
    stall = "/".join(("stall:" + assigned["market"], assigned["floor"], assigned["stall"]))
    return PieceBought(price_fen=price_fen, means=Means.CASH).about(
        subject, f"piece:{mint_piece_code(device, serial)}", stall
    )
