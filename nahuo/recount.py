"""Recount a client's folder from its log: everything the program derives must follow from the signed envelopes alone.

The envelopes are read once; chains, basis, the index of facts and every folded row are computed again from them by the same pure
code and compared with what is stored. Nothing is changed. Checks are named; each tells how much it looked at, so that an empty
folder cannot pass for a sound one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nahuo.data_folder import check_whole, read_only
from sync_core import gate
from sync_core.check import Check
from sync_core.errors import MalformedError
from sync_core.facts import (
    ENGINE_KINDS,
    Envelope,
    PlacedFact,
    admission_of,
    is_server,
    place,
    read_admissions,
    whole_basis,
)
from sync_core.fold import Trade, fold_subject
from sync_core.identity import Verifier
from sync_core.payload import canonical_json, decode_payload
from sync_core.replica_store import hash_document


@dataclass(slots=True, kw_only=True)
class Recount:
    """The checks of one folder and the canonical hash of each document it holds."""

    checks: list[Check]
    hashes: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An envelope of the log, decoded, with the basis recounted."""

    n: int
    envelope: Envelope
    basis: Mapping[int, int]


def recount_client(database: Path, trade: Trade) -> Recount:
    """Recount the replica in `database`.

    Raises:
        CorruptError: SQLite cannot read the file.
    """
    with read_only(database) as conn:
        conn.execute("BEGIN")  # one moment of the database for all checks
        whole = check_whole(conn)
        chains, rows = _check_chains(conn)
        checks = [
            whole,
            chains,
            _check_server_signatures(conn),
            _check_fact_index(conn, rows),
            _check_states(conn, rows, trade),
            _check_outbox(conn),
            _check_piece_codes(conn, rows),
        ]
        hashes = {
            document: hash_document(
                conn.execute(
                    "SELECT device, seq, stored FROM envelope WHERE document = ? ORDER BY device, seq", (document,)
                ),
                conn.execute("SELECT subject, state FROM state WHERE document = ? ORDER BY subject", (document,)),
            )
            for (document,) in conn.execute("SELECT DISTINCT document FROM envelope ORDER BY document").fetchall()
        }
        conn.execute("COMMIT")
    return Recount(checks=checks, hashes=hashes)


def _check_chains(conn: sqlite3.Connection) -> tuple[Check, dict[str, list[_Row]]]:
    check = Check(
        name="chains", what="every writer's envelopes count 1, 2, 3… and each names the hash of the one before"
    )
    documents: dict[str, list[_Row]] = defaultdict(list)
    heads = {
        (document, device): (seq, digest, basis)
        for document, device, seq, digest, basis in conn.execute(
            "SELECT document, device, seq, digest, basis FROM writer"
        )
    }
    ends: dict[tuple[str, int], tuple[gate.Head, Mapping[int, int]]] = {}
    for n, document, device, seq, at_ms, basis_text, stored in conn.execute(
        "SELECT n, document, device, seq, at_ms, basis, stored FROM envelope ORDER BY document, device, seq"
    ):
        check.checked += 1
        where = f"{document}: envelope {device}.{seq}"
        head, basis_before = ends.get((document, device), (gate.empty_head(document), {}))
        if seq != head.seq + 1:
            check.faults.append(f"{where} follows {head.seq}")
        if stored[gate.SIGNATURE_BYTES : gate.HEADER_BYTES] != head.digest:
            check.faults.append(f"{where} does not name the hash of the one before")
        digest = gate.digest_of(stored)
        try:
            envelope = decode_payload(stored[gate.HEADER_BYTES :])
        except MalformedError as error:
            check.faults.append(f"{where} cannot be read: {error}")
            ends[document, device] = (gate.Head(seq=seq, digest=digest), basis_before)
            continue
        if (envelope.device, envelope.seq, envelope.at_ms) != (device, seq, at_ms):
            check.faults.append(f"{where} says it is {envelope.device}.{envelope.seq}")
        basis = whole_basis(basis_before, envelope)
        if _basis_of(basis_text) != dict(basis):
            check.faults.append(f"{where} is stored with another basis than it says")
        ends[document, device] = (gate.Head(seq=seq, digest=digest), basis)
        documents[document].append(_Row(n=n, envelope=envelope, basis=basis))
    for key, (seq, digest, basis_text) in heads.items():
        end = ends.get(key, (gate.empty_head(key[0]), {}))
        if seq != end[0].seq or (seq and (digest != end[0].digest or _basis_of(basis_text) != dict(end[1]))):
            check.faults.append(f"{key[0]}: the head of writer {key[1]} is not where its envelopes end")
    check.faults += [f"{document}: writer {device} has no head" for document, device in sorted(set(ends) - set(heads))]
    return check, documents


def _check_server_signatures(conn: sqlite3.Connection) -> Check:
    check = Check(
        name="server signatures", what="the server's envelopes carry the signature of the key pinned at enrolment"
    )
    key = _setting(conn, "server_key")
    for document, device in conn.execute("SELECT document, device FROM writer WHERE seq > 0").fetchall():
        if not is_server(device):
            continue
        check.checked += 1
        # The last signature vouches for the chain before it; the hashes were recounted above.
        (stored,) = conn.execute(
            "SELECT stored FROM envelope WHERE document = ? AND device = ? ORDER BY seq DESC LIMIT 1",
            (document, device),
        ).fetchone() or (b"",)
        if not key or not Verifier(bytes.fromhex(key))(stored[: gate.SIGNATURE_BYTES], stored[gate.SIGNATURE_BYTES :]):
            check.faults.append(f"{document}: the signature of server {device} does not fit the pinned key")
    return check


def _check_fact_index(conn: sqlite3.Connection, documents: Mapping[str, list[_Row]]) -> Check:
    check = Check(name="fact index", what="the index names every fact of the log, and no other")
    indexed = set(conn.execute("SELECT document, subject, n, idx FROM fact"))
    said = {
        (document, subject, row.n, index)
        for document, rows in documents.items()
        for row in rows
        for index, fact in enumerate(row.envelope.facts)
        for subject in fact.subjects
    }
    check.checked = len(said)
    check.faults += [f"{d}: fact {n}.{i} about {s} is not indexed" for d, s, n, i in sorted(said - indexed)]
    check.faults += [
        f"{d}: the index has fact {n}.{i} about {s}, the log has not" for d, s, n, i in sorted(indexed - said)
    ]
    return check


def _check_states(conn: sqlite3.Connection, documents: Mapping[str, list[_Row]], trade: Trade) -> Check:
    check = Check(name="projections", what="folding the log anew gives every stored row, and no other")
    waiting = set(conn.execute("SELECT document, subject FROM unfolded"))
    stored = {(d, s): text for d, s, text in conn.execute("SELECT document, subject, state FROM state")}
    seen: set[tuple[str, str]] = set()
    for document, rows in documents.items():
        for subject, facts in _facts_by_subject(document, rows).items():
            key = (document, subject)
            seen.add(key)
            if key in waiting:
                continue
            check.checked += 1
            if stored.get(key) != canonical_json(fold_subject(trade, subject, facts)).decode():
                check.faults.append(f"{document}: the row of {subject} is not what its facts fold to")
    check.faults += [f"{d}: there is a row of {s}, but no fact" for d, s in sorted(set(stored) - seen)]
    return check


def _facts_by_subject(document: str, rows: list[_Row]) -> dict[str, list[PlacedFact]]:
    opening = [
        fact
        for row in sorted(rows, key=lambda row: (row.envelope.device, row.envelope.seq))
        if is_server(row.envelope.device)
        for fact in place(row.envelope, document=document, basis={}, admission=admission_of(row.envelope.device, {}))
        if fact.kind in ENGINE_KINDS and "document" in fact.subjects
    ]
    admissions = read_admissions(opening)
    subjects: dict[str, list[PlacedFact]] = defaultdict(list)
    for row in rows:
        for fact in place(
            row.envelope, document=document, basis=row.basis, admission=admission_of(row.envelope.device, admissions)
        ):
            for subject in dict.fromkeys(fact.subjects):
                subjects[subject].append(fact)
    return subjects


def _check_outbox(conn: sqlite3.Connection) -> Check:
    check = Check(name="outbox", what="what counts as acknowledged or folded is in the log")
    for document, device, seq, folded, acked in conn.execute("SELECT document, device, seq, folded, acked FROM writer"):
        check.checked += 1
        if not 0 <= acked <= seq:
            check.faults.append(f"{document}: {acked} envelopes of {device} count as acknowledged, the log has {seq}")
        if not 0 <= folded <= seq:
            check.faults.append(f"{document}: {folded} envelopes of {device} count as folded, the log has {seq}")
    return check


def _check_piece_codes(conn: sqlite3.Connection, documents: Mapping[str, list[_Row]]) -> Check:
    """I12, as far as one device sees it: its own codes carry its own numbers, none twice for two pieces."""
    check = Check(name="piece codes (I12)", what="pieces this device bought carry its own number, each code once")
    number = _setting(conn, "number")
    numbers = {number, *(_setting(conn, "former_numbers") or [])}
    bought: dict[str, set[str]] = defaultdict(set)
    for rows in documents.values():
        for row in rows:
            for fact in row.envelope.facts:
                if row.envelope.device != number or fact.kind != "piece.bought" or fact.carried is not None:
                    continue
                piece = next((s.partition(":")[2] for s in fact.subjects if s.startswith("piece:")), "")
                task = next((s for s in fact.subjects if s.startswith("task:")), "")
                bought[piece].add(task)
    for piece, tasks in bought.items():
        check.checked += 1
        if not piece[:5].isdigit() or int(piece[:5]) not in numbers:
            check.faults.append(f"piece {piece} does not carry this device's number")
        if len(tasks) > 1:
            check.faults.append(f"piece {piece} was bought for {', '.join(sorted(tasks))}")
    return check


def _basis_of(text: str) -> dict[int, int]:
    return {int(writer): seq for writer, seq in json.loads(text).items()}


def _setting(conn: sqlite3.Connection, name: str) -> Any:
    row = conn.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return None if row is None else json.loads(row[0])
