"""The payload: the bytes an envelope is signed as, read back against every limit.

Canonical UTF-8 JSON: keys sorted, no spaces, no floats, no duplicate keys, integers within 2**53 - 1. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sync_core import limits
from sync_core.errors import MalformedError
from sync_core.facts import Carried, Envelope, Fact, Json, Outline


def canonical_json(value: Any) -> bytes:
    """Canonical bytes of a JSON value: the form that is signed and hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def encode_payload(envelope: Envelope) -> bytes:
    """Return the canonical payload of an envelope.

    Raises:
        MalformedError: the envelope breaks a limit or holds what a payload may not; an author's own mistake.
    """
    facts = []
    for fact in envelope.facts:
        row: dict[str, Any] = {"k": fact.kind, "s": list(fact.subjects), "b": dict(fact.body)}
        if fact.origin is not None:
            row["o"] = fact.origin
        if fact.carried is not None:
            said = fact.carried
            row["c"] = {"i": said.fact_id, "p": said.person, "t": said.at_ms, "r": said.role}
        facts.append(row)
    payload = {
        "d": envelope.device,
        "q": envelope.seq,
        "p": envelope.person,
        "t": envelope.at_ms,
        "v": envelope.schema,
        "b": {str(writer): seq for writer, seq in envelope.basis.items()},
        "f": facts,
    }
    data = canonical_json(payload)
    decode_payload(data)
    return data


def decode_payload(data: bytes) -> Envelope:
    """Return the envelope of a payload, checked against every limit. Nobody may change what its bodies hold: they are shared.

    Raises:
        MalformedError: with the code of the first thing that is wrong; never anything else.
    """
    _check_size(data)
    return _decode_small(data) if len(data) <= limits.PAYLOAD_SMALL_BYTES_MAX else _decode_large(data)


def check_payload(data: bytes) -> tuple[int, int]:
    """Return (device, seq) of a payload, held against every limit as `decode_payload` does; a hub needs no more to admit it.

    Raises:
        MalformedError: as `decode_payload`.
    """
    _check_size(data)
    value = _checked(data)
    return value["d"], value["q"]


def outline_payload(data: bytes) -> Outline:
    """Return the outline of a payload, held against every limit as `decode_payload` does.

    Raises:
        MalformedError: as `decode_payload`.
    """
    _check_size(data)
    value = _checked(data)
    basis = {int(writer): seq for writer, seq in value["b"].items()}
    facts = [(fact["k"], fact["s"]) for fact in value["f"]]
    return Outline(value["d"], value["q"], value["t"], value["v"], basis, facts)


def _check_size(data: bytes) -> None:
    if len(data) > limits.ENVELOPE_BYTES_MAX:
        raise MalformedError(
            "gate.too_long", f"the envelope has {len(data)} bytes, at most {limits.ENVELOPE_BYTES_MAX}"
        )


def _checked(data: bytes) -> dict[str, Any]:
    """Return the payload's JSON, in which everything is of its type and within its limit."""
    try:
        value = _read(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError("gate.json", f"the payload is not our JSON: {error}") from error
    if not _is_surely_small(data):
        _check_depth(value, limits.JSON_DEPTH_MAX)
    if type(value) is not dict or value.keys() != _PAYLOAD_FIELDS:
        raise MalformedError("gate.payload", "the payload lacks d, q, p, t, v, b or f")
    device, seq, person, at_ms = value["d"], value["q"], value["p"], value["t"]
    schema, basis, facts = value["v"], value["b"], value["f"]
    # `type() is` and not isinstance: a truth value is no number.
    if not (type(device) is type(seq) is type(at_ms) is type(schema) is int):
        raise MalformedError("gate.payload", "d, q, t or v is no whole number")
    if not (type(person) is str and type(basis) is dict and type(facts) is list):
        raise MalformedError("gate.payload", "p is no text, b no object or f no list")
    if not (0 <= device <= limits.DEVICE_NUMBER_MAX and seq >= 1 and schema >= 1):
        raise MalformedError("gate.payload", "device number, seq or schema is out of range")
    if not 1 <= len(facts) <= limits.FACTS_PER_ENVELOPE_MAX:
        raise MalformedError("gate.payload", f"an envelope holds 1 to {limits.FACTS_PER_ENVELOPE_MAX} facts")
    _check_name(person)
    _check_basis(basis)
    for fact in facts:
        _check_fact(fact)
    return value


def _decode(data: bytes) -> Envelope:
    value = _checked(data)
    return Envelope(
        device=value["d"],
        seq=value["q"],
        person=value["p"],
        at_ms=value["t"],
        schema=value["v"],
        basis={int(writer): seq for writer, seq in value["b"].items()},
        facts=tuple([_fact_of(fact) for fact in value["f"]]),
    )


# An envelope is read when it is said or comes in, when its subjects are folded and when the authority decides: soon after each other.
_decode_small = lru_cache(limits.PAYLOADS_SMALL_KEPT_MAX)(_decode)
_decode_large = lru_cache(limits.PAYLOADS_LARGE_KEPT_MAX)(_decode)


_PAYLOAD_FIELDS = frozenset("dqptvbf")
_FACT_FIELDS = frozenset("ksboc")


def _check_fact(value: object) -> None:
    if type(value) is not dict:
        raise MalformedError("gate.payload", "a fact is no object")
    kind, subjects, body = value.get("k"), value.get("s"), value.get("b")
    if not (type(kind) is str and type(subjects) is list and type(body) is dict):
        raise MalformedError("gate.payload", "a fact lacks k, s or b")
    if not subjects or len(subjects) > limits.SUBJECTS_PER_FACT_MAX:
        raise MalformedError("gate.payload", f"a fact speaks of 1 to {limits.SUBJECTS_PER_FACT_MAX} subjects")
    for subject in subjects:
        if type(subject) is not str:
            raise MalformedError("gate.payload", "a subject is not text")
        _check_name(subject)
    _check_name(kind)
    if len(value) > 3:
        if not value.keys() <= _FACT_FIELDS:
            raise MalformedError("gate.payload", "a fact holds an unknown field")
        if value.get("o") is not None:
            _check_fact_id(value["o"])
        if value.get("c") is not None:
            _check_carried(value["c"])


def _check_carried(value: Any) -> None:
    match value:
        case {"i": str(said_id), "p": str(person), "t": int(at_ms), "r": str(role)} if len(value) == 4:
            _check_fact_id(said_id)
            _check_name(person)
            _check_name(role)
            if isinstance(at_ms, bool):
                raise MalformedError("gate.payload", "a carried fact's time is a truth value")
        case _:
            raise MalformedError("gate.payload", "a carried fact lacks i, p, t or r")


def _fact_of(value: Mapping[str, Any]) -> Fact:
    """Return the fact of JSON that was checked."""
    said = value.get("c")
    return Fact(
        kind=value["k"],
        subjects=tuple(value["s"]),
        body=value["b"],
        origin=value.get("o"),
        carried=None if said is None else Carried(fact_id=said["i"], person=said["p"], at_ms=said["t"], role=said["r"]),
    )


def _check_basis(value: Mapping[str, Json]) -> None:
    if len(value) > limits.BASIS_WRITERS_MAX:
        raise MalformedError("gate.payload", "the basis names too many writers")
    for writer, seq in value.items():
        if (
            not (writer.isascii() and writer.isdigit() and str(int(writer)) == writer)
            or int(writer) > limits.DEVICE_NUMBER_MAX
        ):
            raise MalformedError("gate.payload", "the basis names a writer that is no device number")
        if type(seq) is not int or seq < 1:
            raise MalformedError("gate.payload", "the basis holds a seq that is no count")


def _check_fact_id(value: object) -> None:
    parts = value.split(".") if isinstance(value, str) and len(value) <= 40 else []
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 15 for part in parts):
        raise MalformedError("gate.payload", "a fact id is not device.seq.index")


def _check_name(value: str) -> None:
    # A character has four bytes at most: nearly every name is short enough without encoding it.
    if not value or (len(value) * 4 > limits.NAME_BYTES_MAX and len(value.encode()) > limits.NAME_BYTES_MAX):
        raise MalformedError("gate.payload", f"a name is empty or over {limits.NAME_BYTES_MAX} bytes")


def _check_depth(value: Any, depth: int) -> None:
    if depth < 0:
        raise MalformedError("gate.json", "the payload is nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key)
            _check_depth(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_depth(inner, depth - 1)
    elif isinstance(value, str):
        _check_text(value)


def _check_text(value: str) -> None:
    if "\0" in value:
        raise MalformedError("gate.text", "a text holds U+0000, which not every database can keep")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise MalformedError("gate.json", "a text holds half a character") from error
    if size > limits.TEXT_BYTES_MAX:
        raise MalformedError("gate.too_long", f"a text has over {limits.TEXT_BYTES_MAX} bytes")


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _no_float(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not a whole number")


def _whole(text: str) -> int:
    if len(text) > 17 or not -limits.INTEGER_MAX <= (number := int(text)) <= limits.INTEGER_MAX:
        raise ValueError(f"{text[:20]} is beyond 2**53 - 1")
    return number


def _is_surely_small(data: bytes) -> bool:
    """True when the bytes alone show that no text is too long, nothing too deep, no character halved and none U+0000, as in nearly all
    envelopes.

    No text is longer than the whole, nothing is nested deeper than there are brackets, and such characters can come from an escape only.
    """
    return (
        len(data) <= limits.TEXT_BYTES_MAX
        and b"\\" not in data
        and data.count(b"{") + data.count(b"[") <= limits.JSON_DEPTH_MAX
    )


_READ = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_no_float, parse_constant=_no_float, parse_int=_whole
)
_READ_SMALL = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_float=_no_float, parse_constant=_no_float)
"""Reads the same where no number has 16 digits: all such are within 2**53 - 1."""


def _read(data: bytes) -> Any:
    text = data.decode()
    if data.startswith(b"{") and _MAYBE_LARGE not in data.translate(_BEFORE_A_NUMBER):
        value, end = _READ_SMALL.raw_decode(text)
        if end == len(text):
            return value
    return _READ.decode(text)


# Within an object a number follows a colon, comma, bracket, minus or white space; with those written as one sign and digits as another,
# a single look at the bytes tells whether a number of 16 digits can be among them.
_BEFORE_A_NUMBER = bytes.maketrans(b":,[- \t\n\r0123456789", b":" * 8 + b"0" * 10)
_MAYBE_LARGE = b":" + b"0" * 16
