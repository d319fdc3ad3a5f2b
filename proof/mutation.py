"""Mutate real frames by seed and index. Pure but for the given randomness: the same corpus, seed and index give the same bytes.

Nothing here is crafted against a known weakness; frames are what recorded traffic becomes by flips, cuts, splices, lies about lengths,
fields doubled or in another order, other ids, JSON turned around, and numbers at the edges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from proof.traffic import Corpus
from sync_core import gate, limits, wire
from sync_core.errors import MalformedError
from sync_core.gate import Run, read_bytes, read_varint, write_bytes, write_varint

EDGES: Final = (
    0,
    1,
    2,
    63,
    64,
    99,
    100,
    101,
    127,
    128,
    255,
    256,
    16_383,
    16_384,
    99_999,
    100_000,
    2**31,
    2**32,
    2**53 - 1,
    2**53,
    2**63,
    2**64,
)
DEPTHS: Final = (8, 9, 64, 1_000, 10_000)


def frame(corpus: Corpus, seed: int, index: int) -> bytes:
    """Return mutated frame `index` of `seed`: nine of ten come from what devices send, one from what the hub sends."""
    rng = Random(seed * 1_000_000_007 + index)
    source = corpus.to_hub if rng.random() < 0.9 else corpus.to_device
    return mutate(rng, rng.choice(source), source)


def mutate(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return `data` after one to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_ALL)(rng, data, others)[: 2 * limits.FRAME_BYTES_MAX]
    return data


def mutate_json(rng: Random, value: Any) -> Any:
    """Return a JSON value with one or two places of it turned into something else; NaN and floats included."""
    for _ in range(rng.choice((1, 1, 2))):
        value = _turn(rng, value, rng.randrange(6))
    return value


# --- bytes --------------------------------------------------------------------------------------------------------------


def _flip(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    if not data:
        return bytes([rng.randrange(256)])
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _overwrite(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes([rng.choice((0, 1, 2, 0x28, 0x74, 0x7F, 0x80, 0xFF))]) + data[at + 1 :]


def _cut(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 1, 2, 8, 100)) :]


def _double(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at : at + rng.choice((1, 4, 40, 400))] * rng.choice((2, 2, 3, 30)) + data[at:]


def _insert(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 8, 64))) + data[at:]


def _splice(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _edge_number(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    """Write a number of the edges over one that may be there: a length or count that lies, an id of somebody else."""
    at = rng.randrange(len(data) + 1)
    try:
        _, after = read_varint(data, at)
    except MalformedError:
        after = at + 1
    number = write_varint(rng.choice(EDGES))
    if rng.random() < 0.1:
        number = number[:-1] + bytes([number[-1] | 0x80, 0])  # longer than it need be
    return data[:at] + number + data[after:]


# --- fields -------------------------------------------------------------------------------------------------------------


def _head(data: bytes) -> tuple[bytes, int, bytes] | None:
    try:
        address, at = read_bytes(data, 0)
        kind, at = read_varint(data, at)
    except MalformedError:
        return None
    return address, kind, data[at:]


def _other_type(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    parts = _head(data)
    if parts is None:
        return data
    return write_bytes(parts[0]) + write_varint(rng.choice((*range(12), 127, 2**31))) + parts[2]


def _other_address(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    parts = _head(data)
    if parts is None:
        return data
    theirs = _head(rng.choice(others))
    name = rng.choice(
        (
            theirs[0] if theirs else b"", b"", parts[0] + b"\x00session", parts[0] + b"/", parts[0].upper(), b"/" + parts[0],
            b"../" + parts[0], rng.randbytes(12), b"a" * rng.choice((200, 264, 265, 5_000)), "设备/一".encode(),
            parts[0].replace(b"/1", b"/2"), b"\x00", parts[0] + b"\x00" * 3,
        )
    )  # fmt: skip
    return write_bytes(name) + write_varint(parts[1]) + parts[2]


def _other_sync(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    parts = _head(data)
    if parts is None or parts[1] != wire.FrameType.SYNC:
        return data
    return write_bytes(parts[0]) + b"\x00" + write_varint(rng.choice((0, 1, 2, 3, 127))) + parts[2][1:]


def _other_vector(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    parts = _head(data)
    if parts is None:
        return data
    pairs = [(rng.choice(EDGES), rng.choice(EDGES)) for _ in range(rng.choice((0, 1, 3, 30)))]
    count = rng.choice((len(pairs), len(pairs), len(pairs) + 1, rng.choice(EDGES)))
    vector = write_varint(count) + b"".join(write_varint(a) + write_varint(b) for a, b in pairs)
    return write_bytes(parts[0]) + b"\x00\x00" + write_bytes(vector)


def _other_runs(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Take an update apart and put it together otherwise: other writers, clocks, order, counts, envelopes of another frame, deletes."""
    parts, found = _head(data), _runs(data)
    if parts is None or not found:
        return data
    runs = [*found, *(_runs(rng.choice(others)) if rng.random() < 0.3 else ())]
    run = rng.choice(runs)
    stored = list(run.stored)
    match rng.randrange(6):
        case 0:
            rng.shuffle(stored)
        case 1:
            stored = stored * 2
        case 2:
            stored = stored[rng.randrange(len(stored)) :]
        case 3:
            stored[-1] = _flip(rng, stored[-1], others)
        case 4:
            stored[-1] = stored[-1][: gate.HEADER_BYTES] + _other_payload(rng, stored[-1][gate.HEADER_BYTES :])
        case _:
            pass
    device = run.device if rng.random() < 0.5 else rng.choice((*EDGES[:14], run.device + 1))
    first = (
        run.first_seq if rng.random() < 0.5 else rng.choice((1, run.first_seq + 1, run.first_seq + 2**31, 2**53 - 2))
    )
    changed = Run(device=device, first_seq=first, stored=tuple(stored))
    runs = [changed if one is run else one for one in runs]
    if rng.random() < 0.2:
        rng.shuffle(runs)
    update = gate.encode_update(runs)
    if rng.random() < 0.2:
        pairs = write_varint(rng.choice(EDGES)) + write_varint(rng.choice(EDGES))
        update = update[:-1] + write_varint(1) + write_varint(device) + write_varint(1) + pairs
    return write_bytes(parts[0]) + b"\x00" + rng.choice((b"\x01", b"\x02")) + write_bytes(update)


def _runs(data: bytes) -> tuple[Run, ...]:
    try:
        read = wire.decode_frame(data)
        return gate.parse_update(read.update) if isinstance(read, wire.Update) else ()
    except MalformedError:
        return ()


def _other_payload(rng: Random, payload: bytes) -> bytes:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return payload
    return dump(rng, mutate_json(rng, value))


def _other_message(rng: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    parts = _head(data)
    if parts is None:
        return data
    message: Any = {"report": {"protocol": 1, "schema": 1, "waiting": 3, "since_ms": 5, "clock_ms": 1_795_000_000_000}}
    return write_bytes(parts[0]) + b"\x05" + write_bytes(dump(rng, mutate_json(rng, message)))


# --- JSON ---------------------------------------------------------------------------------------------------------------


def dump(rng: Random, value: Any) -> bytes:
    """Return JSON of a value, now and then not quite."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=rng.random() < 0.3)
    except (ValueError, RecursionError):
        return b"{}"
    match rng.randrange(40):
        case 0:
            depth = rng.choice(DEPTHS)
            text = text.replace("1", "[" * depth + "]" * depth, 1)
        case 1:
            text = text[:-1] + "," + text[1:]
        case 2:
            text = text.replace("1", "1" * rng.choice((17, 400, 5_000)), 1)
        case 3:
            text = text.replace(":", ": ", 1)
        case 4:
            text = text.replace('"', '"\\ud800', 1)
        case _:
            pass
    return text.encode("utf-8", "surrogatepass")


def _turn(rng: Random, value: Any, depth: int) -> Any:
    if depth > 0 and isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        match rng.randrange(8):
            case 0:
                return {name: inner for name, inner in value.items() if name != key}
            case 1:
                return {**value, rng.choice(("x", key + "x", "", "a" * 300)): _strange(rng)}
            case _:
                return {**value, key: _turn(rng, value[key], depth - 1)}
    if depth > 0 and isinstance(value, list) and value:
        at = rng.randrange(len(value))
        match rng.randrange(5):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value * rng.choice((2, 65))
            case _:
                return [*value[:at], _turn(rng, value[at], depth - 1), *value[at + 1 :]]
    return _strange(rng)


def _strange(rng: Random) -> Any:
    return rng.choice(
        (
            None, True, False, 0, -1, 1, 2**53 - 1, 2**53, -(2**53), 10**30, 1.5, float("nan"), float("inf"), "", "0", "x" * 201,
            "x" * 5_000, "\x00", "piece:\x00", "task:" + "9" * 190, "piece:010100000017", "设备", "0.1.0", "100.1.0", [], {}, [[]],
            [None], {"": None}, {"0": 2**53 - 1}, {"100": 1}, ["document"], ["piece:x", "piece:x"], "document.opened", "document.writer",
            "piece.bought", "verdict.purchase", "\U0010ffff", "e\u0301" * 60,
        )
    )  # fmt: skip


_ALL: Final[tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...]] = (
    _flip, _flip, _flip, _overwrite, _cut, _drop, _double, _insert, _splice, _edge_number, _edge_number,
    _other_type, _other_address, _other_sync, _other_vector, _other_runs, _other_runs, _other_runs, _other_message,
)  # fmt: skip
