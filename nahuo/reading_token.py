"""`nahuo token`: let somebody else's program read named documents, and write nothing.

The token is a MAC under the server's secret, good until its time; any stock Yjs client that speaks the Hocuspocus protocol may present
it. Documents hold stall prices, and receivers only sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.installation import KEY, secret_of
from server.tokens import issue_reading_token
from sync_core import limits
from sync_core.errors import RefusedError
from sync_core.identity import open_signer

HOURS_MAX: Final = 24 * 366


def make_reading_token(data: Path, documents: Sequence[str], *, hours: int, now_ms: int) -> str:
    """Return a token that reads `documents` for `hours`.

    Raises:
        RefusedError: the folder is no server's, the time is out of range, or there are no documents, or more than a frame carries.
    """
    if not (data / KEY).is_file():
        raise RefusedError("token.folder", f"{data} holds no server's key")
    if not 1 <= hours <= HOURS_MAX:
        raise RefusedError("token.hours", f"a token is good for 1 to {HOURS_MAX} hours")
    if not documents or not all(documents):
        raise RefusedError("token.documents", "name the documents it reads: --document NAME")
    until_ms = now_ms + hours * 3_600_000
    token = issue_reading_token(secret_of(open_signer(data / KEY)), frozenset(documents), until_ms=until_ms)
    if len(token) > limits.TEXT_BYTES_MAX:
        raise RefusedError("token.documents", "too many documents for one token: make several")
    return token
