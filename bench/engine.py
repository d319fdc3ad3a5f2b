"""Measure the engine without a network: action, fold, cold open, and the disk beneath them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure, Stopwatch, percentile
from sync_core import gate
from sync_core.facts import DOCUMENT_OPENED, Envelope, Fact, PlacedFact
from sync_core.fold import fold_subject
from sync_core.gate import Run
from sync_core.identity import Ed25519Signer
from sync_core.payload import encode_payload
from sync_core.replica import Replica
from trade.kinds import Means, PieceBought, TaskAssigned
from trade.piece_code import mint_piece_code
from trade.projections import MARKET_DAY

ROUTE = "route/2026-11-22-101"
AT_MS = 1_795_000_000_000


def signer(number: int) -> Ed25519Signer:
    """The measured devices' keys, the same in every run."""
    return Ed25519Signer(hashlib.sha256(b"bench key %d" % number).digest())


def assigned(n: int) -> Fact:
    """A task as the server assigns it, about 700 bytes."""
    body = TaskAssigned(
        source="stall",
        order_no=f"29{n:014d}",
        merchant="lele",
        merchant_name="乐乐女装",
        shop="乐乐女装旗舰店",
        line=f"O{n}-1",
        copy_no=1,
        copies=1,
        piece_no=1,
        order_pieces=1,
        title="秋冬加绒卫衣女宽松",
        style="8821#",
        colour="米色",
        size="L",
        market="国大",
        floor="3F",
        stall=str(300 + n % 60),
        drop_ship=True,
        quote_fen=6500,
        cap_fen=6500,
        day="2026-11-22",
        attempt=1,
        assigned_to=101,
    )
    return body.about(f"task:T{n}-1", f"order:O{n}")


def bought(n: int, device: int) -> Fact:
    """A purchase of that task."""
    code = mint_piece_code(device, n)
    return PieceBought(price_fen=6400, means=Means.CASH).about(
        f"task:T{n}-1", f"piece:{code}", f"stall:国大/3F/{300 + n % 60}"
    )


def chain(number: int, document: str, actions: Sequence[Sequence[Fact]], *, key: Ed25519Signer | None = None) -> Run:
    """Signed envelopes of one writer, from his first."""
    head = gate.empty_head(document)
    key = key or signer(number)
    first = head.seq + 1
    stored = []
    for facts in actions:
        envelope = Envelope(
            device=number, seq=head.seq + 1, person="lin", at_ms=AT_MS, schema=1, basis={}, facts=tuple(facts)
        )
        data = gate.seal(encode_payload(envelope), head.digest, key.sign)
        head = gate.Head(seq=head.seq + 1, digest=gate.digest_of(data))
        stored.append(data)
    return Run(device=number, first_seq=first, stored=tuple(stored))


def prepared_replica(path: Path, tasks: int, *, number: int = 101) -> Replica:
    """A picker's replica with so many tasks, folded."""
    replica = Replica.open(path, MARKET_DAY)
    replica.use_key(signer(number))
    replica.enrol(number=number, server_key=signer(0).public_key, certificate={})
    opened = Fact(kind=DOCUMENT_OPENED, subjects=("document",), body={"writers": {str(number): "picker"}})
    run = chain(0, ROUTE, [[opened], *([assigned(n)] for n in range(1, tasks + 1))])
    for group in gate.split_runs([run]):
        replica.admit(ROUTE, group)
    while replica.fold_some():
        pass
    return replica


def measure_engine(folder: Path) -> list[Figure]:
    """Measure what one device does alone."""
    return [*_measure_disk(folder), *_measure_actions(folder), *_measure_fold(), *_measure_cold_open(folder)]


def _measure_disk(folder: Path) -> list[Figure]:
    times = []
    with open(folder / "fsync", "wb") as file:
        for _ in range(300):
            watch = Stopwatch()
            file.write(b"x" * 400)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(watch.lap() * 1000)
    conn = sqlite3.connect(folder / "raw.db", isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, stored BLOB)")
    single = []
    for _ in range(300):
        watch = Stopwatch()
        conn.execute("INSERT INTO log (stored) VALUES (?)", (b"x" * 400,))
        single.append(watch.lap() * 1000)
    watch = Stopwatch()
    conn.execute("BEGIN")
    conn.executemany("INSERT INTO log (stored) VALUES (?)", [(b"x" * 400,)] * 10_000)
    conn.execute("COMMIT")
    group = watch.lap()
    conn.close()
    return [
        Figure(name="machine: fdatasync of 400 bytes, p50", value=percentile(times, 0.5), unit="ms"),
        Figure(name="machine: SQLite WAL+FULL commit of one row, p50", value=percentile(single, 0.5), unit="ms"),
        Figure(name="machine: SQLite rows in one transaction", value=10_000 / group, unit="/s"),
    ]


def _measure_actions(folder: Path) -> list[Figure]:
    replica = prepared_replica(folder / "action.db", 10_000)
    times = []
    for n in range(1, 1_001):
        watch = Stopwatch()

        def also(conn: sqlite3.Connection, _: tuple[str, ...]) -> None:
            conn.execute("INSERT INTO setting VALUES (?, ?)", (f"job-{replica.next_serial()}", '"^label"'))

        replica.act(ROUTE, [bought(n, 101)], person="lin", at_ms=AT_MS + n, also=also)
        times.append(watch.lap() * 1000)
    facts = replica.conn.execute("SELECT count(*) FROM fact").fetchone()[0]
    size = sum(path.stat().st_size for path in folder.glob("action.db*"))
    replica.close()
    return [
        Figure(name="action, 10,000 facts in the replica, p50", value=percentile(times, 0.5), unit="ms", budget=10),
        Figure(name="action, 10,000 facts in the replica, p99", value=percentile(times, 0.99), unit="ms", budget=50),
        Figure(name="replica bytes per fact and subject", value=size / facts, unit="B"),
    ]


def _measure_fold() -> list[Figure]:
    placed: list[tuple[str, list[PlacedFact]]] = []
    for n in range(1, 5_001):
        subject = f"task:T{n}-1"
        facts = []
        for index, (fact, device, role) in enumerate(((assigned(n), 0, "server"), (bought(n, 101), 101, "picker"))):
            facts.append(
                PlacedFact(
                    id=f"{device}.{n + 1}.0",
                    kind=fact.kind,
                    subjects=fact.subjects,
                    body=fact.body,
                    device=device,
                    person="lin",
                    at_ms=AT_MS,
                    role=role,
                    schema=1,
                    writer=device,
                    seq=n + 1,
                    index=0,
                    basis={0: n + 1} if index else {},
                )
            )
        placed.append((subject, facts))
    watch = Stopwatch()
    for subject, facts in placed:
        fold_subject(MARKET_DAY, subject, facts)
    return [
        Figure(
            name="fold, judged and ordered", value=10_000 / watch.lap(), unit="/s", budget=50_000, more_is_better=True
        )
    ]


def _measure_cold_open(folder: Path) -> list[Figure]:
    replica = prepared_replica(folder / "cold.db", 100_000)
    replica.close()
    started = time.perf_counter()
    again = Replica.open(folder / "cold.db", MARKET_DAY)
    again.conn.execute("SELECT state FROM state WHERE kind = 'task' ORDER BY subject LIMIT 50").fetchall()
    seconds = time.perf_counter() - started
    facts = again.conn.execute("SELECT count(*) FROM fact").fetchone()[0]
    again.close()
    return [
        Figure(
            name="cold open and first screen, 200,000 facts and subjects",
            value=seconds,
            unit="s",
            budget=2,
            note=f"{facts} rows",
        )
    ]
