"""The gate: the only way bytes of a peer come in. Pure.

The problem: the native CRDT code trusts its input. Short malformed frames make it panic, allocate hundreds of MiB, overflow its
stack or accept what it can never save again; well-formed ones may delete or overwrite what others wrote, or write under another's
client id, and no state vector shows it.

The method: read the whole Yjs v1 update here first, and admit only what we write ourselves: map entries of the root map
`envelopes`, each holding one byte string, under the key `device.seq`, where device is the client id and seq is the clock plus one;
shortest varints; no delete set; no other root, type or nesting; every count bounded by the bytes that are left; nothing after the
end. Because a struct is a pure function of its envelope, an update is the same thing as runs of stored envelopes, and
`encode_update` writes it back byte for byte as pycrdt would. State vectors are read here as well.

Then `verify_run` holds a run against its writer's chain: the hash of the previous envelope stands in the next, so one signature,
that of the last, vouches for all before it.

Integers here are device numbers, sequence numbers (from 1) and bytes. Source: the Yjs v1 update format; design sections 4 and 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sync_core import limits
from sync_core.errors import MalformedError
from sync_core.facts import Envelope
from sync_core.payload import check_payload, decode_payload

SIGNATURE_BYTES = 64
DIGEST_BYTES = 32
HEADER_BYTES = SIGNATURE_BYTES + DIGEST_BYTES

ROOT = b"envelopes"
_ENTRY = 0x28  # a map entry (bit 0x20: it has a key) holding ContentAny (8)
_BYTES = 0x74  # lib0 "any": a byte string
EMPTY_UPDATE = b"\x00\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Envelopes of one writer, in the order of their seq without holes, the first being `first_seq`."""

    device: int
    first_seq: int
    stored: tuple[bytes, ...]

    @property
    def last_seq(self) -> int:
        """The seq of the last envelope."""
        return self.first_seq + len(self.stored) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a chain stands: the seq and the digest of its last envelope; seq 0 is an empty chain."""

    seq: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An envelope that stands in its writer's chain, with its own bytes and digest."""

    envelope: Envelope
    stored: bytes
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the envelope `seq` of `device` and all after it in its run were not taken; `code` stands in docs/errors.md."""

    device: int
    seq: int
    code: str
    detail: str
    stored: bytes


def empty_head(document: str) -> Head:
    """The head before a writer's first envelope: the hash of the document's name, so a chain belongs to one document."""
    return Head(seq=0, digest=hashlib.sha256(document.encode()).digest())


def digest_of(stored: bytes) -> bytes:
    """SHA-256 of the stored bytes of an envelope: what the next one of its chain names as `prev`."""
    return hashlib.sha256(stored).digest()


# --- reading ------------------------------------------------------------------------------------------------------------


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return (value, position after it).

    Raises:
        MalformedError: the bytes end, the value passes 2**53 - 1, or it is not in its shortest form.
    """
    value = shift = 0
    size = len(data)
    while True:
        if at >= size:
            raise MalformedError("gate.shape", "the bytes end inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise MalformedError("gate.shape", "a number is longer than it need be")
            if value > limits.INTEGER_MAX:
                raise MalformedError("gate.shape", "a number is beyond 2**53 - 1")
            return value, at
        shift += 7
        if shift > 49:
            raise MalformedError("gate.shape", "a number is beyond 2**53 - 1")


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Return (the bytes of a varint-length field, position after it); raises MalformedError when they end early."""
    size, at = read_varint(data, at)
    end = at + size
    if end > len(data):
        raise MalformedError("gate.shape", "the bytes end inside a field")
    return data[at:end], end


def parse_update(update: bytes) -> tuple[Run, ...]:
    """Return the runs of an update of our shape, in the order they stand (highest device number first).

    Raises:
        MalformedError: the update is anything else; its code is `gate.shape`, `gate.too_long` or `gate.key`.
    """
    if len(update) > limits.UPDATE_BYTES_MAX:
        raise MalformedError("gate.too_long", f"an update has {len(update)} bytes, at most {limits.UPDATE_BYTES_MAX}")
    writers, at = read_varint(update, 0)
    if writers > (len(update) - at) // 3:
        raise MalformedError("gate.shape", "more writers than bytes")
    runs: list[Run] = []
    seen: set[int] = set()
    for _ in range(writers):
        run, at = _parse_run(update, at)
        if run.device in seen:
            raise MalformedError("gate.shape", "a writer stands twice")
        seen.add(run.device)
        runs.append(run)
    deletes, at = read_varint(update, at)
    if deletes:
        raise MalformedError("gate.deletes", "an update deletes; nothing is ever deleted here")
    if at != len(update):
        raise MalformedError("gate.shape", "there are bytes after the end")
    return tuple(runs)


def _parse_run(update: bytes, at: int) -> tuple[Run, int]:
    count, at = read_varint(update, at)
    device, at = read_varint(update, at)
    clock, at = read_varint(update, at)
    if count < 1 or count > (len(update) - at) // 16:
        raise MalformedError("gate.shape", "more entries than bytes")
    if device > limits.DEVICE_NUMBER_MAX:
        raise MalformedError("gate.shape", "a client id is no device number")
    if clock + count > limits.INTEGER_MAX:
        raise MalformedError("gate.shape", "a clock is beyond 2**53 - 1")
    stored = []
    size = len(update)
    for seq in range(clock + 1, clock + count + 1):
        head = at + 3 + len(ROOT)
        if (
            head > size
            or update[at] != _ENTRY
            or update[at + 1] != 1
            or update[at + 2] != len(ROOT)
            or update[at + 3 : head] != ROOT
        ):
            raise MalformedError("gate.shape", "an entry is not an envelope of the root map")
        key, at = read_bytes(update, head)
        if key != b"%d.%d" % (device, seq):
            raise MalformedError("gate.key", "an entry's key is not its device and seq")
        if update[at : at + 2] != b"\x01\x74":
            raise MalformedError("gate.shape", "an entry does not hold one byte string")
        value, at = read_bytes(update, at + 2)
        if not HEADER_BYTES < len(value) <= limits.ENVELOPE_BYTES_MAX + HEADER_BYTES:
            raise MalformedError("gate.too_long", f"an envelope has {len(value)} bytes")
        stored.append(value)
    return Run(device=device, first_seq=clock + 1, stored=tuple(stored)), at


def parse_state_vector(data: bytes) -> dict[int, int]:
    """Return {device: last seq} of a peer's state vector.

    Raises:
        MalformedError: it is not of our shape, or names too many writers.
    """
    count, at = read_varint(data, 0)
    if count > limits.STATE_VECTOR_WRITERS_MAX or count > (len(data) - at) // 2:
        raise MalformedError("gate.shape", "a state vector names too many writers")
    vector: dict[int, int] = {}
    for _ in range(count):
        device, at = read_varint(data, at)
        clock, at = read_varint(data, at)
        if device in vector:
            raise MalformedError("gate.shape", "a state vector names a writer twice")
        vector[device] = clock
    if at != len(data):
        raise MalformedError("gate.shape", "there are bytes after the state vector")
    return vector


# --- writing ------------------------------------------------------------------------------------------------------------


def write_varint(value: int) -> bytes:
    """Return the shortest varint of a whole number >= 0."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_bytes(value: bytes) -> bytes:
    """Return the field: its length as a varint, then the bytes."""
    return write_varint(len(value)) + value


def encode_update(runs: Iterable[Run]) -> bytes:
    """Return the update that holds these runs, as pycrdt writes it: highest device number first, no deletes."""
    ordered = sorted((run for run in runs if run.stored), key=lambda run: -run.device)
    parts = [write_varint(len(ordered))]
    entry = bytes((_ENTRY, 1, len(ROOT))) + ROOT
    for run in ordered:
        parts.append(write_varint(len(run.stored)) + write_varint(run.device) + write_varint(run.first_seq - 1))
        for seq, stored in enumerate(run.stored, run.first_seq):
            parts += (entry, write_bytes(b"%d.%d" % (run.device, seq)), b"\x01\x74", write_varint(len(stored)), stored)
    parts.append(b"\x00")
    return b"".join(parts)


def entry_bytes(stored: bytes) -> int:
    """An upper bound of what one envelope adds to an update."""
    return len(stored) + 48


def encode_state_vector(vector: Mapping[int, int]) -> bytes:
    """Return the state vector {device: last seq}; writers without envelopes are left out."""
    known = sorted(((device, seq) for device, seq in vector.items() if seq > 0), reverse=True)
    return write_varint(len(known)) + b"".join(write_varint(device) + write_varint(seq) for device, seq in known)


def group_runs(rows: Iterable[tuple[int, int, bytes]]) -> tuple[Run, ...]:
    """Return the runs of (device, seq, stored) rows that stand in ascending seq per device; a hole begins no new run but is an error.

    Raises:
        ValueError: a writer's rows have a hole; a log of ours never has one.
    """
    groups: dict[int, tuple[int, list[bytes]]] = {}
    for device, seq, stored in rows:
        first, values = groups.setdefault(device, (seq, []))
        if seq != first + len(values):
            raise ValueError(f"the log of device {device} has a hole before seq {seq}")
        values.append(stored)
    return tuple(
        Run(device=device, first_seq=first, stored=tuple(values)) for device, (first, values) in groups.items()
    )


# --- chains -------------------------------------------------------------------------------------------------------------


def seal(payload: bytes, previous: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the stored bytes of an envelope: signature over `previous` digest and payload, then both."""
    signed = previous + payload
    return sign(signed) + signed


def verify_run(
    run: Run,
    head: Head,
    *,
    check: Callable[[bytes, bytes], bool] | None,
    read: Callable[[bytes], tuple[int, int]] = check_payload,
) -> tuple[list[bytes], Refusal | None]:
    """Return the digests of the envelopes of `run` that continue the chain at `head`, and the refusal of the first that does not.

    `run.first_seq` must be `head.seq + 1`. `check(signature, signed bytes)` judges a signature; None trusts the peer for them (a
    device trusts its hub for other writers) and checks shape and chain only. The signature of the last good envelope is checked;
    it proves those before it. Where it fails, the last one whose signature holds is searched, so a good prefix is kept.
    `read(payload)` gives (device, seq), or raises MalformedError.
    """
    good: list[bytes] = []
    refusal: Refusal | None = None
    seq, previous = head.seq, head.digest
    for stored in run.stored:
        seq += 1
        if stored[SIGNATURE_BYTES:HEADER_BYTES] != previous:
            refusal = _refusal(run, stored, seq, "gate.chain", "prev is not the hash of the envelope before")
            break
        try:
            place = read(stored[HEADER_BYTES:])
        except MalformedError as error:
            refusal = _refusal(run, stored, seq, error.code, str(error))
            break
        if place != (run.device, seq):
            refusal = _refusal(run, stored, seq, "gate.key", "the payload names another device or seq")
            break
        previous = hashlib.sha256(stored).digest()
        good.append(previous)
    if check is None:
        return good, refusal
    while good:
        last = run.stored[len(good) - 1]
        if check(last[:SIGNATURE_BYTES], last[SIGNATURE_BYTES:]):
            break
        refusal = _refusal(
            run, last, head.seq + len(good), "gate.signature", "the signature does not fit the device's key"
        )
        good.pop()
    return good, refusal


def read_run(
    run: Run, head: Head, *, check: Callable[[bytes, bytes], bool] | None
) -> tuple[tuple[Verified, ...], Refusal | None]:
    """Return the envelopes of `run` that continue the chain at `head`, read, and the refusal of the first that does not (`verify_run`)."""
    envelopes: list[Envelope] = []

    def read(payload: bytes) -> tuple[int, int]:
        envelope = decode_payload(payload)
        envelopes.append(envelope)
        return envelope.device, envelope.seq

    digests, refusal = verify_run(run, head, check=check, read=read)
    rows = zip(envelopes, run.stored, digests, strict=False)
    return tuple([Verified(envelope=e, stored=stored, digest=digest) for e, stored, digest in rows]), refusal


def _refusal(run: Run, stored: bytes, seq: int, code: str, detail: str) -> Refusal:
    return Refusal(device=run.device, seq=seq, code=code, detail=detail, stored=stored)


def split_runs(runs: Sequence[Run], *, bytes_max: int = limits.UPDATE_BYTES_MAX) -> list[tuple[Run, ...]]:
    """Return the runs cut, in order, into groups whose updates each fit `bytes_max`."""
    groups: list[tuple[Run, ...]] = []
    group: list[Run] = []
    room = bytes_max - 64
    for run in runs:
        start = 0
        size = 24
        for index, stored in enumerate(run.stored):
            need = entry_bytes(stored)
            if size + need > room and (group or index > start):
                if index > start:
                    group.append(
                        Run(device=run.device, first_seq=run.first_seq + start, stored=run.stored[start:index])
                    )
                groups.append(tuple(group))
                group, start, size, room = [], index, 24, bytes_max - 64
            size += need
        if start < len(run.stored):
            group.append(Run(device=run.device, first_seq=run.first_seq + start, stored=run.stored[start:]))
            room -= size
    if group:
        groups.append(tuple(group))
    return groups
