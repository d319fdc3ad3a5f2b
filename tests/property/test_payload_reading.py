"""The quick reader of payloads takes and refuses exactly the bytes the strict one does, and reads the same from them.

The strict reader here is written for clarity: every number and every object goes through a check of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync_core import limits
from sync_core.errors import MalformedError
from sync_core.facts import Envelope, outline_of
from sync_core.payload import _read, check_payload, decode_payload, outline_payload

AROUND_THE_LIMIT = st.integers(2**53 - 3, 2**53 + 3) | st.integers(10**15 - 2, 10**15 + 2) | st.integers(0, 10**18)
WHITE = st.text(alphabet=" \t\r\n\v\f", max_size=2)
NUMBERS = (
    st.builds(lambda sign, n: f"{sign}{n}", st.sampled_from(["", "-", "--", "+", "0"]), AROUND_THE_LIMIT)
    | st.sampled_from(["-0", "0", "1.0", "1e3", "1E400", "NaN", "Infinity", "-Infinity", "01", "9" * 17, "-" + "9" * 16])
)  # fmt: skip
TEXTS = st.sampled_from(
    ['"a"', '"k"', '"2900000000000000001"', '":9999999999999999"', '"\\u0061"', '"\\ud800"', '"\\u0000"', '""', '"货"']
)
KEYS = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"k"', '":1"'])


def _spaced(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda before, text, after: before + text + after, WHITE, strategy, WHITE)


def _listed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, max_size=3).map(lambda parts: "[" + ",".join(parts) + "]")


def _object(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.builds(lambda key, value: f"{key}:{value}", _spaced(KEYS), inner)
    return st.lists(pair, max_size=4).map(lambda parts: "{" + ",".join(parts) + "}")


VALUES = st.recursive(
    _spaced(NUMBERS | TEXTS | st.sampled_from(["true", "null"])), lambda inner: _listed(inner) | _object(inner)
)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def _integer(text: str) -> int:
    value = int(text)
    if abs(value) > limits.INTEGER_MAX:
        raise ValueError("too large")
    return value


def _never(text: str) -> Any:
    raise ValueError(text)


def read_strictly(data: bytes) -> Any:
    """The value of our JSON; ValueError for all else."""
    return json.loads(
        data.decode(), object_pairs_hook=_unique, parse_int=_integer, parse_float=_never, parse_constant=_never
    )


def payload(body: str, *, seq: str = "1", basis: str = "{}") -> bytes:
    """A payload whose body, seq and basis are the given JSON texts."""
    return (
        f'{{"b":{basis},"d":101,"f":[{{"b":{body},"k":"toy.said","s":["task:1"]}}],"p":"lin","q":{seq},"t":1,"v":1}}'
    ).encode()


def _decoded(data: bytes) -> Envelope | str:
    try:
        return decode_payload(data)
    except MalformedError as error:
        return error.code


@given(body=_object(VALUES), seq=_spaced(NUMBERS))
@example(body='{"a":9007199254740992}', seq="1")
@example(body='{"a":[-9007199254740992]}', seq="1")
@example(body='{"a": 9007199254740992}', seq="1")
@example(body='{"a":1,"a":2}', seq="1")
@example(body='{"a":"2900000000000000001"}', seq="9007199254740991")
@settings(max_examples=600)
def test_quick_and_strict_reading_take_the_same_bytes(body: str, seq: str) -> None:
    data = payload(body, seq=seq)
    try:
        strict = read_strictly(data)
    except ValueError:
        assert _decoded(data) == "gate.json"
        return
    got = _decoded(data)
    if isinstance(got, Envelope):
        assert (got.seq, got.facts[0].body) == (strict["q"], strict["f"][0]["b"])
    else:
        # What JSON allows and a payload does not: judged from the value, by code that both readings share.
        assert got in ("gate.json", "gate.text", "gate.payload", "gate.too_long")
        assert strict["q"] < 1 or "\\" in body or data.count(b"[") + data.count(b"{") > limits.JSON_DEPTH_MAX


@given(VALUES.map(str.encode))
@example(b"9" * 17)
@example(b'{"a":[1,9007199254740992]}')
@example(b'{"a":1}1')
@example(b'{"a":1}\n')
@settings(max_examples=600)
def test_whatever_reader_is_used_the_value_is_the_strict_one(data: bytes) -> None:
    assert _outcome(_read, data) == _outcome(read_strictly, data)


@given(body=_object(VALUES), seq=_spaced(NUMBERS))
@settings(max_examples=300)
def test_what_is_only_checked_is_refused_by_the_same_code(body: str, seq: str) -> None:
    data = payload(body, seq=seq)
    read = _decoded(data)
    try:
        place: object = check_payload(data)
    except MalformedError as error:
        place = error.code
    assert place == ((read.device, read.seq) if isinstance(read, Envelope) else read)


def _outcome(read: Any, data: bytes) -> tuple[bool, Any]:
    try:
        return True, read(data)
    except ValueError:
        return False, None


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: payload(json.dumps(text))))
def test_whatever_comes_in_is_an_envelope_or_refused_by_a_code(data: bytes) -> None:
    assert isinstance(_decoded(data), Envelope | str)


def test_what_is_read_twice_is_the_same_envelope_and_what_is_refused_is_refused_again() -> None:
    good, bad = payload('{"a":1}'), payload('{"a":1.5}')
    assert decode_payload(good) is decode_payload(bytes(bytearray(good)))
    assert [_decoded(bad), _decoded(bad)] == ["gate.json", "gate.json"]


GOOD: dict[str, Any] = {"b": {}, "d": 101, "p": "lin", "q": 1, "t": 1, "v": 1}
FACT: dict[str, Any] = {"b": {}, "k": "toy.said", "s": ["task:1"]}
CARRIED: dict[str, Any] = {"i": "7.1.0", "p": "lin", "t": 1, "r": "picker"}
LONG = "x" * (limits.NAME_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"p": ""}, {"p": LONG}, {"p": 1}, {"d": True}, {"d": -1}, {"d": 100_000}, {"q": 0}, {"v": 0}, {"t": None}, {"x": 1},
        {"b": []}, {"b": {"01": 1}}, {"b": {"100000": 1}}, {"b": {"a": 1}}, {"b": {"1": 0}}, {"b": {"1": True}}, {"f": {}}, {"f": []},
        {"f": [FACT] * (limits.FACTS_PER_ENVELOPE_MAX + 1)}, {"f": [1]}, {"f": [{**FACT, "k": ""}]}, {"f": [{**FACT, "k": LONG}]},
        {"f": [{**FACT, "b": []}]}, {"f": [{**FACT, "s": []}]}, {"f": [{**FACT, "s": [""]}]}, {"f": [{**FACT, "s": [1]}]},
        {"f": [{**FACT, "s": ["a"] * (limits.SUBJECTS_PER_FACT_MAX + 1)}]}, {"f": [{**FACT, "x": 1}]}, {"f": [{**FACT, "o": "7.1"}]},
        {"f": [{**FACT, "c": {**CARRIED, "i": "7"}}]}, {"f": [{**FACT, "c": {**CARRIED, "p": ""}}]},
        {"f": [{**FACT, "c": {**CARRIED, "t": True}}]}, {"f": [{**FACT, "c": {**CARRIED, "x": 1}}]}, {"f": [FACT, {**FACT, "s": "a"}]},
    ],
)  # fmt: skip
def test_each_limit_is_kept_by_all_three_ways_to_read(wrong: dict[str, Any]) -> None:
    data = json.dumps({**GOOD, "f": [FACT], **wrong}).encode()
    for read in (decode_payload, check_payload, outline_payload):
        with pytest.raises(MalformedError) as refused:
            read(data)
        assert refused.value.code == "gate.payload"


def test_an_outline_is_the_envelope_without_its_bodies() -> None:
    data = json.dumps({**GOOD, "b": {"7": 3}, "f": [{**FACT, "o": "7.1.0"}, {**FACT, "c": CARRIED}]}).encode()
    envelope, outline = decode_payload(data), outline_payload(data)
    assert outline[:5] == outline_of(envelope)[:5] == (101, 1, 1, 1, {7: 3})
    assert [(kind, list(about)) for kind, about in outline.facts] == [("toy.said", ["task:1"])] * 2
    assert [(kind, list(about)) for kind, about in outline_of(envelope).facts] == [("toy.said", ["task:1"])] * 2
