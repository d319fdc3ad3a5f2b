"""Find a task, stall or order by what a thumb types: pinyin initials, digits, or the characters themselves.

The initials are computed by the caller (a phone has a dictionary for them) and passed in. Pure. Rules R41, D23.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchKey:
    """What one row can be found by, normalised once: its texts, and the pinyin initials of those texts."""

    texts: tuple[str, ...]
    initials: tuple[str, ...] = ()


def search_key(texts: Iterable[str], initials: Iterable[str] = ()) -> SearchKey:
    """Return the key of a row; empty texts fall away."""
    return SearchKey(
        texts=tuple(clean for text in texts if (clean := normalise_search(text))),
        initials=tuple(clean for text in initials if (clean := normalise_search(text))),
    )


def normalise_search(text: str) -> str:
    """Half-width, lower case, without spaces and the separators nobody types: `国大 3F－315` -> `国大3f315`."""
    half = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in half if char.isalnum())


def match_rank(query: str, key: SearchKey) -> int | None:
    """Return how well a row answers a query (0 is best), None when it does not; every word must match.

    0 is the whole text, 1 its beginning, 2 the beginning of its initials, 3 somewhere inside. An empty query finds all.
    """
    words = [clean for word in query.split() if (clean := normalise_search(word))]
    ranks = [_rank_word(word, key) for word in words]
    return None if any(rank is None for rank in ranks) else max((rank for rank in ranks if rank is not None), default=0)


def find(query: str, rows: Sequence[tuple[SearchKey, Found]]) -> list[Found]:
    """Return the rows that match, the best first, otherwise in their given order."""
    ranked = [(match_rank(query, key), at) for at, (key, _) in enumerate(rows)]
    return [rows[at][1] for rank, at in sorted((rank, at) for rank, at in ranked if rank is not None)]


def _rank_word(word: str, key: SearchKey) -> int | None:
    if word in key.texts:
        return 0
    if any(text.startswith(word) for text in key.texts):
        return 1
    if any(initials.startswith(word) for initials in key.initials):
        return 2
    return 3 if any(word in text for text in (*key.texts, *key.initials)) else None
