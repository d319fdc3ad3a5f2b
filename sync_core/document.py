"""The Yjs document of a scope: pycrdt behind one small class, used as a grow-only set of envelopes.

A document is never the truth: the log is, and a document is rebuilt from it at any time. Only updates that passed the gate, or were
encoded by us, come in here. Merging is the native library's: any order, any repetition gives the same set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pycrdt import Doc, Map

from sync_core import gate
from sync_core.gate import Run

ROOT = gate.ROOT.decode()


class Document:
    """A grow-only set of envelopes, keyed `device.seq`."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._doc: Doc[Map[bytes]] = Doc()
        self._root = self._doc.get(ROOT, type=Map)
        self.apply(runs)

    def apply(self, runs: Iterable[Run]) -> None:
        """Merge runs that are contiguous with what is here."""
        update = gate.encode_update(runs)
        if update != gate.EMPTY_UPDATE:
            self._doc.apply_update(update)

    def vector(self) -> dict[int, int]:
        """Return {writer: last seq}."""
        return gate.parse_state_vector(self._doc.get_state())

    def missing(self, have: Mapping[int, int]) -> bytes:
        """Return the update a peer with `have` lacks, whatever its size."""
        return self._doc.get_update(gate.encode_state_vector(have))

    def envelopes(self) -> dict[str, bytes]:
        """Return {`device.seq`: stored bytes}, sorted by key: map order differs between processes."""
        return dict(sorted((self._root.to_py() or {}).items()))
