"""Hostile peers at a real server: every case of the table is refused or void, kept under its code, and changes nothing for others.

All cases run once, over real sockets, each group as another enrolled terminal; the tests then look at what each was told and what was
kept (REL-G8).
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from nahuo.demo.hands import Desk
from nahuo.verify import verify_folder
from proof.raw_socket import BINARY, TEXT, NotUpgradedError, RawSocket
from proof.stage import Member, Stage
from server.api.devices import ENROLMENTS
from server.tokens import issue_nonce
from sync_core import gate, wire
from sync_core.errors import MalformedError
from sync_core.gate import Head, Run, read_bytes, read_varint
from sync_core.identity import token_message
from tests.end_to_end.hostile_cases import CASES, Case, World
from trade.words import VOIDS

SECONDS = 20


@dataclass(slots=True)
class Result:
    """What one case came to."""

    told: str
    sent: list[bytes]
    seq: int
    member: Member
    changed: bool


@dataclass(slots=True)
class Hall:
    """The server all cases were run against, and what they came to."""

    stage: Stage
    victim: Member
    said: list[bytes]
    results: dict[str, Result] = field(default_factory=dict)
    rows: list[Any] = field(default_factory=list)
    discrepancies: list[dict[str, Any]] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    groups = list(dict.fromkeys(case.group for case in CASES))
    stage = Stage(tmp_path_factory.mktemp("hall"), members=len(groups) + 5, per_warehouse=len(groups) + 3)
    with stage:
        victim, _, _, *others, _, far = stage.members  # the second is revoked below, the third steals a token
        assert far.document != victim.document
        hall = Hall(stage, victim, asyncio.run(_say(stage, victim, 4)))
        hall.before = _truth(hall, victim)
        for group, me in zip(groups, others, strict=False):
            mine = asyncio.run(_say(stage, me, 3))
            for case in (case for case in CASES if case.group == group):
                world = World(stage, me, victim, far, hall.said, mine, _server_head(stage, me.document))
                other = _others(stage, me)
                told, sent, seq = asyncio.run(_run(case, world))
                name = f"{case.group}: {case.name}"
                hall.results[name] = Result(told, sent, seq, me, _others(stage, me) != other)
        _settle(hall)
        yield hall


@pytest.mark.parametrize("case", CASES, ids=[f"{case.group}: {case.name}" for case in CASES])
def test_a_hostile_peer_is_told_and_kept_and_changes_nothing_for_others(hall: Hall, case: Case) -> None:
    result = hall.results[f"{case.group}: {case.name}"]
    assert not result.changed, "somebody else's log grew"
    if case.told.startswith("void"):
        assert result.told == "status 1"
        found = {
            row["reason"]
            for row in hall.discrepancies
            if row["device"] == result.member.number and row["seq"] == result.seq
        }
        assert found == {case.told.split()[1]}
    elif case.told == "taken":
        assert result.told in ("status 1", "taken")
    else:
        assert result.told == case.told
    if case.is_kept:
        sender = -1 if case.is_kept == "wire.readonly" else result.member.number
        kept = [row for row in hall.rows if row["sent_by"] == sender and row["code"] == case.is_kept]
        assert any(any(row["stored"] in frame for frame in result.sent) for row in kept), [
            row["code"] for row in hall.rows
        ]


def test_the_table_has_every_kind_of_attack(hall: Hall) -> None:
    assert len(CASES) >= 60
    assert len(hall.results) == len(CASES), "two cases have one name"


def test_after_all_of_it_nobody_elses_work_or_money_has_changed(hall: Hall) -> None:
    assert hall.after == hall.before
    assert hall.stage.log_faults() == []
    verdict = verify_folder(hall.stage.data)
    assert [fault for check in verdict.checks for fault in check.faults] == []


def test_a_gap_is_told_and_not_kept(hall: Hall) -> None:
    assert [row for row in hall.rows if row["code"] == "gate.gap"] == []


# --- over HTTP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", ["another device's key", "another number", "an old nonce", "another server's nonce", "half a signature"]
)
def test_a_token_is_only_for_who_holds_the_key(hall: Hall, how: str) -> None:
    stage, thief = hall.stage, hall.stage.members[2]
    number, now_ms = hall.victim.number, time.time_ns() // 1_000_000
    nonce = str(_ask(stage, "/api/device/nonce")[1]["nonce"])
    signer = thief.signer
    if how == "an old nonce":
        number, nonce = thief.number, issue_nonce(stage.secret, random=bytes(16), now_ms=now_ms - 10 * 60_000)
    elif how == "another server's nonce":
        number, nonce = thief.number, issue_nonce(b"x" * 32, random=bytes(16), now_ms=now_ms)
    signature = signer.sign(token_message(thief.number if how == "another number" else number, nonce)).hex()
    if how == "half a signature":
        number, signature = thief.number, signature[:63]
    status, told = _ask(stage, "/api/device/token", {"device": number, "nonce": nonce, "signature": signature})
    assert (status, told["code"]) == (401, "token.signature")


def test_guessing_enrolment_codes_ends_soon(hall: Hall) -> None:
    body = {"public_key": "ab" * 32, "alg": "ed25519", "name": "x"}
    told = [_ask(hall.stage, "/api/enrol", {**body, "code": f"GUESS {n:05d}"})[1]["code"] for n in range(22)]
    assert set(told[:19]) == {"enrol.code"}
    assert told[-1] == "enrol.throttled"
    ENROLMENTS.forget()


def test_a_reading_token_opens_no_keys_and_no_new_number(hall: Hall) -> None:
    token = hall.stage.reading_token(hall.victim.document)
    assert _ask(hall.stage, "/api/keys", {"parcels": ["P1"]}, token=token)[1]["code"] == "keys.role"
    status, _ = _ask(hall.stage, "/api/device/renumber", {"public_key": "ab" * 32, "alg": "ed25519"}, token=token)
    assert status == 401


def test_a_revoked_device_delivers_is_told_nothing_and_counts_for_nothing(hall: Hall) -> None:
    stage, revoked = hall.stage, hall.stage.members[1]
    desk = Desk(stage.server.url, name="admin", password="proof-admin-password")
    desk.sign_in()
    desk.need(f"/platform/devices/{revoked.number}/revoke")
    desk.close()
    said = asyncio.run(_say(stage, revoked, 1))
    assert len(said) == 1

    async def read() -> list[wire.Update]:
        socket = await RawSocket.connect(stage.port, token=stage.token(revoked))
        _open(socket, revoked.document)
        socket.put(wire.encode_frame(wire.Step1(address=revoked.document, vector=b"\x00")))
        socket.put(wire.PING)
        found = []
        async with asyncio.timeout(SECONDS):
            while (answer := (await socket.receive())[1]) != wire.PONG:
                frame = wire.decode_frame(answer)
                found += [frame] if isinstance(frame, wire.Update) else []
        socket.drop()
        return found

    assert [frame.update for frame in asyncio.run(read()) if gate.parse_update(frame.update)] == []
    until = time.monotonic() + SECONDS
    while not [d for d in _discrepancies(stage) if d["code"] == "parked"]:
        assert time.monotonic() < until, "nobody was told of what a revoked device delivered"
        time.sleep(0.1)


# --- running the cases --------------------------------------------------------------------------------------------------


async def _say(stage: Stage, member: Member, count: int) -> list[bytes]:
    """Let a member say so much, honestly."""
    socket = await RawSocket.connect(stage.port, token=stage.token(member))
    _open(socket, member.document)
    said = []
    for _ in range(count):
        stored = member.seal([member.next_scan()])
        run = Run(device=member.number, first_seq=member.head.seq + 1, stored=(stored,))
        update = wire.Update(address=member.document, update=gate.encode_update([run]), answer=False)
        await socket.send(wire.encode_frame(update))
        async with asyncio.timeout(SECONDS):
            while not isinstance(status := wire.decode_frame((await socket.receive())[1]), wire.Status):
                pass
        assert status.applied
        member.taken(stored)
        said.append(stored)
    socket.drop()
    return said


def _open(socket: RawSocket, document: str) -> None:
    socket.put(wire.encode_frame(wire.Auth(address=document, token="")))


async def _run(case: Case, world: World) -> tuple[str, list[bytes], int]:
    """Return (what was told, the frames sent, the seq of the first envelope sent)."""
    token = case.token(world) if case.token is not None else world.stage.token(world.me)
    frames = case.act(world)
    seq = world.me.head.seq + 1
    try:
        socket = await RawSocket.connect(world.stage.port, token=token)
    except NotUpgradedError as refused:
        return f"http {refused.status}", [], seq
    opening = []
    if case.opens:
        document = case.asks(world) if case.asks is not None else world.me.document
        opening = [wire.encode_frame(wire.Auth(address=document, token="" if token else "nobody"))]
    for frame in (*opening, *frames):
        socket.put(frame, opcode=TEXT if case.text and frame in frames else BINARY)
    socket.put(wire.PING)
    heard: list[wire.Frame] = []
    owed = sum(map(_is_update, frames))
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                heard.append(wire.decode_frame((await socket.receive())[1]))
                if wire.Pong() in heard and sum(isinstance(one, wire.Status) for one in heard) >= owed:
                    break
    except OSError:
        pass
    told = _told(socket, heard)
    if told == "status 1":
        for frame in frames:
            _go_on(world.me, frame)
    socket.drop()
    return told, [*opening, *frames], seq


def _told(socket: RawSocket, heard: list[wire.Frame]) -> str:
    if socket.close_code is not None:
        return f"closed {socket.close_code} {re.split('[: ]', socket.close_reason)[0]}"
    for frame in heard:
        match frame:
            case wire.Denied():
                return "denied"
            case wire.Stateless(message={"refused": {"code": code}}):
                return f"refused {code}"
            case _:
                pass
    statuses = {frame.applied for frame in heard if isinstance(frame, wire.Status)}
    return f"status {int(min(statuses))}" if statuses else "taken"


def _is_update(frame: bytes) -> bool:
    try:
        _, at = read_bytes(frame, 0)
        kind, at = read_varint(frame, at)
        step, _ = read_varint(frame, at)
    except MalformedError:
        return False
    return kind == wire.FrameType.SYNC and step in (1, 2)


def _go_on(me: Member, frame: bytes) -> None:
    """What was taken of mine goes on my chain."""
    read = wire.decode_frame(frame)
    if isinstance(read, wire.Update) and read.address == me.document:
        for run in gate.parse_update(read.update):
            if run.device == me.number and run.first_seq == me.head.seq + 1:
                me.taken(run.stored[0])


# --- looking ------------------------------------------------------------------------------------------------------------


def _rows(stage: Stage, sql: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(f"file:{stage.data / 'nahuo.db'}?mode=ro", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        return conn.execute(sql, values).fetchall()


def _others(stage: Stage, me: Member) -> list[Any]:
    """What everybody but this one has in the log, the server's own aside (it writes in its own time)."""
    return [
        tuple(row)
        for row in _rows(stage, "SELECT count(*), max(n) FROM envelope WHERE device NOT IN (0, ?)", me.number)
    ]


def _truth(hall: Hall, victim: Member) -> dict[str, Any]:
    """What must not change: the victim's log, all the server said, the money, the orders, who may speak, which numbers there are."""
    stage = hall.stage
    return {
        "victim": [
            bytes(row[0])
            for row in _rows(
                stage, "SELECT stored FROM envelope WHERE device = ? ORDER BY document, seq", victim.number
            )
        ],
        **{
            table: [tuple(row) for row in _rows(stage, f"SELECT * FROM {table}")]
            for table in (
                "entry",
                "posting",
                "account",
                "server_number",
                "document",
                "shop_order",
                "task",
                "enrol_code",
            )
        },
        "server": [
            tuple(row)
            for row in _rows(stage, "SELECT document, device, seq FROM head WHERE device < 100 ORDER BY document")
        ],
        "roles": [
            tuple(row)
            for row in _rows(
                stage, "SELECT document, device, role, continues FROM writer WHERE role <> '' ORDER BY document, device"
            )
        ],
    }


def _server_head(stage: Stage, document: str) -> Head:
    rows = _rows(stage, "SELECT seq, digest FROM head WHERE document = ? AND device = 0", document)
    return Head(seq=rows[0]["seq"], digest=bytes(rows[0]["digest"]))


def _discrepancies(stage: Stage) -> list[dict[str, Any]]:
    """{code, device, seq, reason} of each; a void one's key says where it stands, its words why."""
    found = []
    for row in _rows(stage, "SELECT code, key, en FROM discrepancy"):
        one: dict[str, Any] = {"code": row["code"], "device": 0, "seq": 0, "reason": ""}
        if row["code"] == "void":
            _, _, device, seq, _ = row["key"].split("|")
            one = {
                **one,
                "device": int(device),
                "seq": int(seq),
                "reason": _REASONS[row["en"].rpartition(", ")[2].rstrip(")")],
            }
        found.append(one)
    return found


_REASONS = {words.en: code for code, words in VOIDS.items()} | {code: code for code in VOIDS}


def _settle(hall: Hall) -> None:
    """Wait for what was refused to be kept and for the authority to have seen all."""
    stage, until = hall.stage, time.monotonic() + SECONDS
    voids = sum(case.told.startswith("void") for case in CASES)
    while True:
        hall.rows = [{**dict(row), "stored": bytes(row["stored"])} for row in _rows(stage, "SELECT * FROM quarantine")]
        hall.discrepancies = [row for row in _discrepancies(stage) if row["code"] == "void"]
        codes = {row["code"] for row in hall.rows}
        if (
            len(hall.discrepancies) >= voids and {case.is_kept for case in CASES if case.is_kept} <= codes
        ) or time.monotonic() > until:
            break
        time.sleep(0.1)
    hall.after = _truth(hall, hall.victim)


def _ask(stage: Stage, path: str, body: dict[str, Any] | None = None, *, token: str = "") -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(
            urllib.request.Request(stage.server.url + path, data=data, headers=headers), timeout=SECONDS
        ) as answer:
            return int(answer.status), dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(json.load(error))
