"""A server that is lost and put back from its backup: the folder `a` is lost, the folder `b` is the copy that goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from server import commands as c
from server import schema as s
from server.authority import Authority
from server.installation import TOKEN, open_server
from server.recount import recount_server
from sync_core.gate import Run, encode_update, group_runs, parse_update
from sync_core.hub import Submission, commit_batch
from tests.unit.server.day import START_MS, Day, Device
from trade.projections import MARKET_DAY


def open_again(folder: Path, *, now_ms: int = START_MS) -> Day:
    """Start a server on a folder that holds one."""
    server = open_server(folder, synchronous="OFF", now_ms=now_ms, seed=b"s" * 32)
    return Day(server=server, authority=Authority(server), now_ms=now_ms)


def back_up(day: Day, tmp_path: Path) -> None:
    """Copy the folder of a day's server; the day goes on at the server that will be lost."""
    day.store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns(TOKEN))
    lost = open_again(tmp_path / "a", now_ms=day.now_ms)
    day.server, day.authority = lost.server, lost.authority


def lose(day: Day, tmp_path: Path) -> tuple[list[Any], Day]:
    """Return all envelopes that the lost server held, by device and arrival, and the restored one."""
    rows = sorted(day.all(s.envelope), key=lambda row: (row.device, row.n))
    day.store.close()
    return rows, open_again(tmp_path / "b", now_ms=day.now_ms)


def deliver_all(day: Day, rows: list[Any]) -> None:
    """What devices give a restored hub: every envelope it lacks, the lost server's own included."""
    for row in rows:
        if day.store.read_vector(row.document).get(row.device, 0) >= row.seq:
            continue
        run = Run(device=row.device, first_seq=row.seq, stored=(bytes(row.stored),))
        one = Submission(document=row.document, runs=(run,), sent_by=row.device, received_ms=day.now_ms)
        with day.store.transaction():
            (told,) = commit_batch(day.store, [one])
        assert told.applied, told
        day.work()


def deliver_whole(day: Day, rows: list[Any], document: str) -> None:
    """One device gives a restored hub all of a document in one update, in which the highest number stands first."""
    have = day.store.read_vector(document)
    lacking = [row for row in rows if row.document == document and have.get(row.device, 0) < row.seq]
    runs = group_runs(sorted((row.device, row.seq, bytes(row.stored)) for row in lacking))
    sent = parse_update(encode_update(runs))
    assert [run.device for run in sent] == sorted((run.device for run in runs), reverse=True)
    with day.store.transaction():
        (told,) = commit_batch(day.store, [Submission(document=document, runs=sent, sent_by=0, received_ms=day.now_ms)])
    assert told.applied, told
    day.work()


def faults(day: Day) -> list[str]:
    """What a recount of the server finds."""
    checks, _ = recount_server(day.server, MARKET_DAY)
    return [fault for check in checks for fault in check.faults]


def two_phones_for_one_piece(day: Day, code: str) -> tuple[Device, Device, Device, str]:
    """Return (terminal, first phone, second, its task): the first has the task T1001-1 and no signal when it is given to the second."""
    terminal = day.enrol("warehouse", "wu")
    first, second = day.enrol("picker", "ann"), day.enrol("picker", "bob")
    day.orders(f"A1|{code}|1")
    day.do(c.RoutesAssign(devices=[first.number]))
    first.sync(day.task("T1001-1").document)
    first.offline = True
    other = day.do(c.TaskReassign(task="T1001-1", device=second.number))["task"]
    return terminal, first, second, str(other)
