"""The gate: our shape and nothing else, byte for byte what pycrdt writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map

from sync_core import gate, limits
from sync_core.errors import MalformedError
from sync_core.gate import Head, Run
from sync_core.identity import Verifier
from tests.toy import DOCUMENT, chain, put, signer


def test_an_update_is_byte_for_byte_what_pycrdt_writes() -> None:
    run = chain(700, DOCUMENT, [[put(n)] for n in range(1, 301)])
    doc: Doc[Map[bytes]] = Doc(client_id=700)
    root = doc.get("envelopes", type=Map)
    for seq, stored in enumerate(run.stored, 1):
        root[f"700.{seq}"] = stored
    assert gate.encode_update([run]) == doc.get_update()
    assert gate.parse_update(doc.get_update()) == (run,)
    assert gate.encode_state_vector({700: 300}) == doc.get_state()
    assert gate.parse_state_vector(doc.get_state()) == {700: 300}


def test_a_tail_applies_where_the_head_is_known() -> None:
    run = chain(700, DOCUMENT, [[put(n)] for n in range(1, 11)])
    doc: Doc[Map[bytes]] = Doc()
    doc.apply_update(gate.encode_update([Run(device=700, first_seq=1, stored=run.stored[:4])]))
    doc.apply_update(gate.encode_update([Run(device=700, first_seq=5, stored=run.stored[4:])]))
    assert len(doc.get("envelopes", type=Map)) == 10
    assert doc.get_update() == gate.encode_update([run])


SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "another root": lambda u: u.replace(b"envelopes", b"envelopez"),
    "a foreign key": lambda u: u.replace(b"700.1", b"701.1"),
    "a delete set": lambda u: u[:-1] + b"\x01\xbc\x05\x01\x00\x01",
    "bytes after the end": lambda u: u + b"\x00",
    "cut short": lambda u: u[:-20],
    "a long varint": lambda u: b"\x81\x00" + u[1:],
    "too many writers": lambda u: b"\xff\xff\x7f" + u[1:],
    "another content": lambda u: u.replace(b"\x01\x74", b"\x01\x77", 1),
    "empty": lambda u: b"",
}


@pytest.mark.parametrize("name", SHAPES)
def test_another_shape_is_refused(name: str) -> None:
    update = gate.encode_update([chain(700, DOCUMENT, [[put(1)]])])
    with pytest.raises(MalformedError) as caught:
        gate.parse_update(SHAPES[name](update))
    assert caught.value.code.startswith("gate.")


@given(st.binary(max_size=400))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    for parse in (gate.parse_update, gate.parse_state_vector):
        try:
            parse(data)
        except MalformedError as error:
            assert error.code.startswith("gate.")


@given(st.data())
def test_a_mutated_update_is_refused_or_another_set_of_our_shape(data: st.DataObject) -> None:
    update = bytearray(
        gate.encode_update([chain(700, DOCUMENT, [[put(1)], [put(2)]]), chain(701, DOCUMENT, [[put(3)]])])
    )
    for _ in range(data.draw(st.integers(1, 4))):
        update[data.draw(st.integers(0, len(update) - 1))] = data.draw(st.integers(0, 255))
    try:
        runs = gate.parse_update(bytes(update))
    except MalformedError:
        return
    again = gate.parse_update(gate.encode_update(runs))
    assert sorted(again, key=lambda r: r.device) == sorted(runs, key=lambda r: r.device)


def test_a_chain_vouches_for_all_before_its_signature() -> None:
    run = chain(700, DOCUMENT, [[put(n)] for n in range(1, 6)])
    good, refusal = gate.verify_run(run, gate.empty_head(DOCUMENT), check=Verifier(signer(700).public_key))
    assert (len(good), refusal) == (5, None)


def test_a_forged_tail_leaves_the_good_prefix() -> None:
    run = chain(700, DOCUMENT, [[put(n)] for n in range(1, 4)])
    head = Head(seq=3, digest=gate.digest_of(run.stored[2]))
    forged = chain(701, DOCUMENT, [[put(9)]], after=head).stored[0]
    payload = forged[gate.HEADER_BYTES :].replace(b'"d":701', b'"d":700')
    forged = forged[: gate.HEADER_BYTES] + payload
    good, refusal = gate.verify_run(
        Run(device=700, first_seq=1, stored=(*run.stored, forged)),
        gate.empty_head(DOCUMENT),
        check=Verifier(signer(700).public_key),
    )
    assert len(good) == 3
    assert refusal is not None
    assert (refusal.code, refusal.seq) == ("gate.signature", 4)


def test_an_envelope_of_another_document_breaks_the_chain() -> None:
    run = chain(700, "jar/cellar", [[put(1)]])
    good, refusal = gate.verify_run(run, gate.empty_head(DOCUMENT), check=Verifier(signer(700).public_key))
    assert not good
    assert refusal is not None
    assert refusal.code == "gate.chain"


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(2_000, 9_000))
def test_split_updates_fit_and_join_again(sizes: list[int], bytes_max: int) -> None:
    runs = [chain(700 + i, DOCUMENT, [[put(n)] for n in range(size)]) for i, size in enumerate(sizes)]
    groups = gate.split_runs(runs, bytes_max=bytes_max)
    assert all(len(gate.encode_update(group)) <= bytes_max for group in groups)
    joined: dict[int, list[bytes]] = {}
    for group in groups:
        for run in group:
            assert run.first_seq == len(joined.setdefault(run.device, [])) + 1
            joined[run.device] += run.stored
    assert joined == {run.device: list(run.stored) for run in runs}


def test_a_number_of_2_to_the_53_is_refused() -> None:
    assert gate.read_varint(gate.write_varint(limits.INTEGER_MAX), 0)[0] == limits.INTEGER_MAX
    with pytest.raises(MalformedError):
        gate.read_varint(gate.write_varint(limits.INTEGER_MAX + 1), 0)
