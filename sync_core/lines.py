"""Lines of documents: `warehouse/main/1`, `warehouse/main/2`… follow each other; one of a line is open at a time.

A document that ends is succeeded by the next number of its line, which opens with what still lives. A device counts its envelopes
from 1 in each document, so `device.seq` names an envelope of one document only, while a successor holds facts of all before it. The id of
a fact therefore counts on through its line: `seq` of document n is `seq + (n - 1) * 10^9` in an id. Nothing signed changes: an id is
computed from the document's name and the envelope, on every node alike. A document outside a line (`route/…`) counts as the first.
Pure.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

SEQS_PER_DOCUMENT: Final = 10**9
"""More envelopes than a device says in a lifetime; a million documents later an id still has 15 digits a part (`facts`)."""

_NUMBER_MAX: Final = 999_999


@lru_cache(maxsize=10_000)
def line_of(document: str) -> str | None:
    """`warehouse/main/2` -> `warehouse/main`; None for a document that is of no line (`route/2026-05-01-101`)."""
    line, _, number = document.rpartition("/")
    counts = number.isascii() and number.isdigit() and number[0] != "0" and int(number) <= _NUMBER_MAX
    return line if counts and "/" in line else None


def number_in_line(document: str) -> int:
    """`warehouse/main/2` -> 2; 1 for a document that is of no line."""
    return 1 if line_of(document) is None else int(document.rpartition("/")[2])


def next_in_line(document: str) -> str:
    """`warehouse/main/2` -> `warehouse/main/3`.

    Raises:
        ValueError: it is of no line.
    """
    line = line_of(document)
    if line is None:
        raise ValueError(f"{document} is of no line")
    return f"{line}/{number_in_line(document) + 1}"


def seq_in_line(document: str, seq: int) -> int:
    """Return the seq that stands in the ids of an envelope's facts."""
    return seq + (number_in_line(document) - 1) * SEQS_PER_DOCUMENT


def document_of(document: str, seq: int) -> str:
    """Return the document of this one's line in which the fact with this seq in its id was said; the document when it is of no line."""
    line = line_of(document)
    return document if line is None else f"{line}/{(seq - 1) // SEQS_PER_DOCUMENT + 1}"
