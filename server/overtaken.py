"""Notice that this server was put back to an older moment of itself, install token and all: a machine's snapshot, a disk that lied.

Nothing in its folder tells. But devices bring back what it had signed since, and nobody else can have signed that: an envelope with its own
number and a signature that holds, which stands nowhere in its log. From then on the authority does nothing more under that number,
or one number would say two things; what the hub takes waits in front of the authority's reading position. The next start takes
the next number as a restored copy does (server/installation.py) and takes back what the old one had said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select

from server import schema as s
from server.rows import get_meta, read, set_meta
from server.store import Store
from sync_core import gate
from sync_core.errors import MalformedError
from sync_core.facts import is_server
from sync_core.hub import Outcome, Submission, commit_batch
from sync_core.payload import check_payload

OVERTAKEN: Final = "server_number_overtaken"
"""The server's number that devices know more of than its own log does."""

_KNOWN: Final = (
    select(s.envelope.c.n)
    .join(s.head, (s.head.c.document == s.envelope.c.document) & (s.head.c.device == s.envelope.c.device))
    .where(
        s.head.c.device == bindparam("device_"), s.head.c.seq >= bindparam("seq_"),
        s.envelope.c.seq == bindparam("seq_"), s.envelope.c.digest == bindparam("digest_"),
    )
    .limit(1)
)  # fmt: skip


def commit_received(store: Store, batch: Sequence[Submission]) -> list[Outcome]:
    """Let the hub commit what devices sent, and note in the same transaction whether it shows that this server is an older copy."""
    with store.transaction() as conn:
        if not store.is_overtaken:
            store.is_overtaken = _is_overtaken(store, conn, batch)
        return commit_batch(store, batch)


def _is_overtaken(store: Store, conn: Connection, batch: Sequence[Submission]) -> bool:
    ours = [run for submission in batch for run in submission.runs if is_server(run.device)]
    if not ours:
        return False
    number = int(get_meta(conn, "server_number", 0))
    # A run is a chain: whoever has its last envelope has them all.
    if not any(run.device == number and _is_new(store, conn, number, run.stored[-1]) for run in ours):
        return False
    set_meta(conn, OVERTAKEN, number)
    return True


def _is_new(store: Store, conn: Connection, number: int, stored: bytes) -> bool:
    """True for an envelope that this server signed and does not have, in whatever document it is brought."""
    check = store.verifier(number)
    if check is None or not check(stored[: gate.SIGNATURE_BYTES], stored[gate.SIGNATURE_BYTES :]):
        return False
    try:
        device, seq = check_payload(stored[gate.HEADER_BYTES :])
    except MalformedError:
        return False
    where = {"device_": number, "seq_": seq, "digest_": gate.digest_of(stored)}
    return device == number and read(conn, _KNOWN, **where).first() is None
