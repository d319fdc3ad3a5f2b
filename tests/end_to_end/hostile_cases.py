"""The table of hostile cases: what a peer sends, what it is told, and under which code it is kept. Run by test_hostile_peers.py.

`told` is one of: `refused CODE` (the refusal's message), `closed NUMBER CODE` (the close code, and the code its reason begins with), `denied`,
`http STATUS` (the upgrade), `status 0`, `status 1`, `void CODE` (taken, and a discrepancy says why it counts for nothing), `taken` (taken, and of no
effect on anybody else). `kept` is the code in quarantine, "" where nothing is to be kept: a stranger's, a gap, equal bytes again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proof.stage import Member, Stage
from server.tokens import issue_token
from sync_core import gate, limits, wire
from sync_core.gate import EMPTY_UPDATE, Head, Run, write_bytes, write_varint
from sync_core.payload import canonical_json
from trade import kinds

ROOT = write_bytes(b"envelopes")


@dataclass(slots=True)
class World:
    """Who is there: `me` is the hostile terminal, `victim` a good one of the same warehouse, `far` of another; `said` are the victim's stored bytes."""

    stage: Stage
    me: Member
    victim: Member
    far: Member
    said: list[bytes]
    mine: list[bytes]
    server: Head
    """Where the server's own chain in the document stands."""

    def payload(self, **more: Any) -> dict[str, Any]:
        """The next payload of mine, as JSON."""
        fact = self.me.next_scan()
        whole = {
            "d": self.me.number, "q": self.me.head.seq + 1, "p": "cang", "t": 1, "v": 1, "b": {},
            "f": [{"k": fact.kind, "s": list(fact.subjects), "b": dict(fact.body)}],
        }  # fmt: skip
        return {**whole, **more}

    def seal(self, payload: bytes | dict[str, Any], *, prev: bytes | None = None, key: Member | None = None) -> bytes:
        """Signed, in my chain unless said otherwise."""
        raw = payload if isinstance(payload, bytes) else canonical_json(payload)
        return gate.seal(raw, self.me.head.digest if prev is None else prev, (key or self.me).signer.sign)

    def next(self, stored: bytes, *, device: int | None = None, seq: int | None = None) -> bytes:
        """The frame that carries one envelope."""
        run = Run(
            device=self.me.number if device is None else device,
            first_seq=self.me.head.seq + 1 if seq is None else seq, stored=(stored,),
        )  # fmt: skip
        return self.update(gate.encode_update([run]))

    def update(self, update: bytes, *, document: str | None = None) -> bytes:
        """The frame of an update."""
        return wire.encode_frame(wire.Update(address=document or self.me.document, update=update, answer=False))

    def raw_update(self, device: int, clock: int, entry: bytes) -> bytes:
        """The frame of an update with one struct whose bytes are given."""
        return self.update(b"\x01\x01" + write_varint(device) + write_varint(clock) + entry + b"\x00")

    def vector(self, vector: bytes) -> bytes:
        """The frame of a step 1."""
        return wire.encode_frame(wire.Step1(address=self.me.document, vector=vector))

    def frame(self, kind: int, body: bytes = b"") -> bytes:
        """A frame of any type."""
        return write_bytes(self.me.document.encode()) + write_varint(kind) + body

    def text(self, **changes: Any) -> bytes:
        """A signed envelope whose payload is changed."""
        return self.next(self.seal(self.payload(**changes)))

    def fact(self, **changes: Any) -> bytes:
        """A signed envelope whose one fact is changed."""
        payload = self.payload()
        payload["f"] = [{**payload["f"][0], **changes}]
        return self.next(self.seal(payload))


Act = Callable[[World], list[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case. `token` makes another token than mine; `asks` another document than my own; `opens` False: no Auth frame."""

    group: str
    name: str
    told: str
    act: Act = lambda w: []
    kept: str | None = None
    token: Callable[[World], str | None] | None = None
    asks: Callable[[World], str] | None = None
    opens: bool = True
    text: bool = False

    @property
    def is_kept(self) -> str:
        """The code in quarantine."""
        if self.kept is not None or self.told == "refused gate.gap":
            return self.kept or ""
        return self.told.split(" ")[-1] if self.told.startswith(("refused", "closed")) else ""


def _entry(
    w: World, *, info: int = 0x28, root: bytes = ROOT, key: bytes | None = None, count: int = 1, parent: bytes = b"\x01"
) -> bytes:
    value = w.seal(w.payload())
    name = b"%d.%d" % (w.me.number, w.me.head.seq + 1) if key is None else key
    return bytes([info]) + parent + root + write_bytes(name) + write_varint(count) + b"\x74" + write_bytes(value)


def _mine(w: World, entry: bytes) -> list[bytes]:
    return [w.raw_update(w.me.number, w.me.head.seq, entry)]


def _group(group: str, *cases: tuple[str, str, Act]) -> list[Case]:
    return [Case(group=group, name=name, told=told, act=act) for name, told, act in cases]


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


FORGED = _group(
    "forged",
    ("the victim's next number, my key", "refused gate.signature", lambda w: [w.next(w.seal(w.payload(d=w.victim.number, q=len(w.said) + 1), prev=gate.digest_of(w.said[-1])), device=w.victim.number, seq=len(w.said) + 1)]),
    ("the victim's number, my payload", "refused gate.key", lambda w: [w.next(w.seal(w.payload(q=len(w.said) + 1), prev=gate.digest_of(w.said[-1])), device=w.victim.number, seq=len(w.said) + 1)]),
    ("my number, the victim's payload", "refused gate.key", lambda w: [w.text(d=w.victim.number)]),
    ("another seq in the payload", "refused gate.key", lambda w: [w.text(q=w.me.head.seq + 2)]),
    ("a number nobody has", "refused gate.writer", lambda w: [w.next(w.seal(w.payload(d=50_000, q=1), prev=gate.empty_head(w.me.document).digest), device=50_000, seq=1)]),
    ("the server's number, my key", "refused gate.signature", lambda w: [w.next(w.seal(w.payload(d=0, q=w.server.seq + 1), prev=w.server.digest), device=0, seq=w.server.seq + 1)]),
    ("another server's number", "refused gate.writer", lambda w: [w.next(w.seal(w.payload(d=7, q=1), prev=gate.empty_head(w.me.document).digest), device=7, seq=1)]),
    ("a client id beyond all devices", "refused gate.shape", lambda w: [w.raw_update(100_000, 0, _entry(w))]),
    ("the largest client id", "refused gate.shape", lambda w: [w.raw_update(2**53 - 1, 0, _entry(w))]),
    ("a client id beyond 2^53", "refused gate.shape", lambda w: [w.raw_update(2**53, 0, _entry(w))]),
    ("a flipped bit in the signature", "refused gate.signature", lambda w: [w.next(_flip(w.seal(w.payload()), 5))]),
    ("a signature of zeros", "refused gate.signature", lambda w: [w.next(bytes(64) + w.seal(w.payload())[64:])]),
    ("the signature of another payload", "refused gate.signature", lambda w: [w.next(w.seal(w.payload())[:64] + w.seal(w.payload())[64:])]),
    ("the victim's key in my chain", "refused gate.signature", lambda w: [w.next(w.seal(w.payload(), key=w.victim))]),
)  # fmt: skip

CHAINS = [
    *_group(
        "chains",
        ("the next but one", "refused gate.gap", lambda w: [w.next(w.seal(w.payload(q=w.me.head.seq + 2)), seq=w.me.head.seq + 2)]),
        ("a seq far ahead", "refused gate.gap", lambda w: [w.next(w.seal(w.payload(q=2**40)), seq=2**40)]),
        ("a clock at the edge", "refused gate.shape", lambda w: [w.raw_update(w.me.number, 2**53 - 1, _entry(w))]),
        ("prev of nothing", "refused gate.chain", lambda w: [w.next(w.seal(w.payload(), prev=bytes(32)))]),
        ("prev of the victim's chain", "refused gate.chain", lambda w: [w.next(w.seal(w.payload(), prev=gate.digest_of(w.said[-1])))]),
        ("a chain of another document", "refused gate.chain", lambda w: [w.next(w.seal(w.payload(), prev=gate.empty_head("warehouse/w9/1").digest))]),
        ("other bytes under my first number", "refused gate.fork", lambda w: [w.next(w.seal(w.payload(q=1), prev=gate.empty_head(w.me.document).digest), seq=1)]),
        ("other bytes under the victim's first number", "refused gate.fork", lambda w: [w.next(w.seal(w.payload(d=w.victim.number, q=1)), device=w.victim.number, seq=1)]),
        ("a fork behind two known ones", "refused gate.fork", lambda w: [w.update(gate.encode_update([Run(device=w.me.number, first_seq=1, stored=(*w.mine[:2], _flip(w.mine[2], 70)))]))]),
        ("the victim's envelopes in a chain of their own order", "refused gate.fork", lambda w: [w.update(gate.encode_update([Run(device=w.victim.number, first_seq=1, stored=tuple(reversed(w.said)))]))]),
        ("my own first again", "status 1", lambda w: [w.next(w.mine[0], seq=1)]),
        ("the victim's first again, through me", "status 1", lambda w: [w.next(w.said[0], device=w.victim.number, seq=1)]),
        ("all of the victim's again, a hundred times", "status 1", lambda w: [w.update(gate.encode_update([Run(device=w.victim.number, first_seq=1, stored=tuple(w.said))]))] * 100),
    ),
    Case(group="chains", name="the victim's envelopes in my own document", told="refused gate.chain", asks=lambda w: f"device/{w.me.number}/1",
         act=lambda w: [w.update(gate.encode_update([Run(device=w.victim.number, first_seq=1, stored=tuple(w.said))]), document=f"device/{w.me.number}/1")]),
]  # fmt: skip

DELETES = _group(
    "deletes",
    ("the victim's first", "refused gate.deletes", lambda w: [w.update(b"\x00\x01" + write_varint(w.victim.number) + b"\x01\x00\x01")]),
    ("all of the victim's", "refused gate.deletes", lambda w: [w.update(b"\x00\x01" + write_varint(w.victim.number) + b"\x01\x00" + write_varint(2**31))]),
    ("my own", "refused gate.deletes", lambda w: [w.update(b"\x00\x01" + write_varint(w.me.number) + b"\x01\x00\x01")]),
    ("behind a good envelope", "refused gate.deletes", lambda w: [w.update(gate.encode_update([Run(device=w.victim.number, first_seq=1, stored=(w.said[0],))])[:-1] + b"\x01" + write_varint(w.victim.number) + b"\x01\x00\x01")]),
    ("a count of millions", "refused gate.deletes", lambda w: [w.update(b"\x00" + write_varint(2**40))]),
)  # fmt: skip

MUTING = _group(
    "muting",
    ("another root", "refused gate.shape", lambda w: _mine(w, _entry(w, root=write_bytes(b"others")))),
    ("an empty root", "refused gate.shape", lambda w: _mine(w, _entry(w, root=b"\x00"))),
    ("the victim's key", "refused gate.key", lambda w: _mine(w, _entry(w, key=b"%d.1" % w.victim.number))),
    ("a key of no number", "refused gate.key", lambda w: _mine(w, _entry(w, key=b""))),
    ("a key written otherwise", "refused gate.key", lambda w: _mine(w, _entry(w, key=b"0%d.%d" % (w.me.number, w.me.head.seq + 1)))),
    ("inside another entry", "refused gate.shape", lambda w: _mine(w, _entry(w, parent=b"\x00"))),
    ("another kind of content", "refused gate.shape", lambda w: _mine(w, _entry(w, info=0x24))),
    ("a neighbour on the left", "refused gate.shape", lambda w: _mine(w, _entry(w, info=0xA8))),
    ("collected garbage", "refused gate.shape", lambda w: _mine(w, b"\x00\x05" + bytes(16))),
    ("two values", "refused gate.shape", lambda w: _mine(w, _entry(w, count=2))),
    ("more writers than bytes", "refused gate.shape", lambda w: [w.update(write_varint(2**40) + b"\x01\x00")]),
    ("more entries than bytes", "refused gate.shape", lambda w: [w.update(b"\x01" + write_varint(2**40) + write_varint(w.me.number) + b"\x00")]),
    ("a writer twice", "refused gate.shape", lambda w: [w.update(b"\x02" + 2 * (b"\x01" + write_varint(w.me.number) + write_varint(w.me.head.seq) + _entry(w)) + b"\x00")]),
    ("bytes behind the end", "refused gate.shape", lambda w: [w.update(EMPTY_UPDATE + b"\x00")]),
    ("nothing at all", "refused gate.shape", lambda w: [w.update(b"")]),
)  # fmt: skip

PAYLOADS = _group(
    "payloads",
    ("a float", "refused gate.json", lambda w: [w.next(w.seal(canonical_json(w.payload()).replace(b'"t":1', b'"t":1.5')))]),
    ("an exponent", "refused gate.json", lambda w: [w.next(w.seal(canonical_json(w.payload()).replace(b'"t":1', b'"t":1e300')))]),
    ("not a number", "refused gate.json", lambda w: [w.next(w.seal(canonical_json(w.payload()).replace(b'"t":1', b'"t":NaN')))]),
    ("a key twice", "refused gate.json", lambda w: [w.next(w.seal(b'{"d":1,' + canonical_json(w.payload())[1:]))]),
    ("too deep", "refused gate.json", lambda w: [w.fact(b={"a": [[[[[[[[[]]]]]]]]]})]),
    ("deep as a well", "refused gate.json", lambda w: [w.next(w.seal(canonical_json(w.payload()).replace(b'"t":1', b'"t":' + b"[" * 15_000 + b"]" * 15_000)))]),
    ("an integer beyond 2^53", "refused gate.json", lambda w: [w.text(t=2**53)]),
    ("an integer of 4,000 digits", "refused gate.json", lambda w: [w.next(w.seal(canonical_json(w.payload()).replace(b'"t":1', b'"t":' + b"1" * 4_000)))]),
    ("half a character", "refused gate.json", lambda w: [w.next(w.seal(canonical_json(w.payload()).replace(b'"p":"cang"', b'"p":"\\ud800"')))]),
    ("a subject with NUL", "refused gate.text", lambda w: [w.fact(s=["piece:\0"], b={"cell": "A1"})]),
    ("a body with NUL", "refused gate.text", lambda w: [w.fact(b={"cell": "A\0"})]),
    ("a person with NUL", "refused gate.text", lambda w: [w.text(p="cang\0")]),
    ("no UTF-8", "refused gate.json", lambda w: [w.next(w.seal(b"\xff" + canonical_json(w.payload())))]),
    ("no JSON", "refused gate.json", lambda w: [w.next(w.seal(b"{"))]),
    ("a text too long", "refused gate.too_long", lambda w: [w.fact(b={"cell": "x" * (limits.TEXT_BYTES_MAX + 1)})]),
    ("an envelope too long", "refused gate.too_long", lambda w: [w.next(w.seal(b" " * (limits.ENVELOPE_BYTES_MAX + 1)))]),
)  # fmt: skip

FIELDS = _group(
    "fields",
    ("no facts", "refused gate.payload", lambda w: [w.text(f=[])]),
    ("65 facts", "refused gate.payload", lambda w: [w.text(f=[{"k": "x", "s": ["piece:1"], "b": {}}] * 65)]),
    ("a fact about nothing", "refused gate.payload", lambda w: [w.fact(s=[])]),
    ("a fact with an unknown field", "refused gate.payload", lambda w: [w.fact(z=1)]),
    ("a truth value for a time", "refused gate.payload", lambda w: [w.text(t=True)]),
    ("a person of 201 bytes", "refused gate.payload", lambda w: [w.text(p="x" * 201)]),
    ("nobody", "refused gate.payload", lambda w: [w.text(p="")]),
    ("schema 0", "refused gate.payload", lambda w: [w.text(v=0)]),
    ("a basis of no writer", "refused gate.payload", lambda w: [w.text(b={"x": 1})]),
    ("a basis of 2,001 writers", "refused gate.payload", lambda w: [w.text(b={str(n): 1 for n in range(2_001)})]),
    ("an origin that is no fact", "refused gate.payload", lambda w: [w.fact(o="1.2")]),
    ("a carried fact without a role", "refused gate.payload", lambda w: [w.fact(c={"i": "1.1.0", "p": "x", "t": 1})]),
    ("a payload that is a list", "refused gate.payload", lambda w: [w.next(w.seal(b"[]"))]),
    ("an unknown field", "refused gate.payload", lambda w: [w.text(z=1)]),
)  # fmt: skip

FRAMES = [
    *_group(
        "frames",
        ("between servers: 4", "closed 4400 wire.type", lambda w: [w.frame(4, b"\x00\x01\x00")]),
        ("between servers: 6", "closed 4400 wire.type", lambda w: [w.frame(6, write_bytes(b"{}"))]),
        ("an unknown type", "closed 4400 wire.type", lambda w: [w.frame(11)]),
        ("an unknown sync message", "closed 4400 wire.type", lambda w: [w.frame(0, b"\x03\x00")]),
        ("a status", "closed 4400 wire.side", lambda w: [w.frame(8, b"\x01")]),
        ("a grant of my own", "closed 4400 wire.side", lambda w: [w.frame(2, b"\x02" + write_bytes(b"read-write"))]),
        ("a denial", "closed 4400 wire.side", lambda w: [w.frame(2, b"\x01" + write_bytes(b"no"))]),
        ("bytes behind a sync message", "closed 4400 wire.shape", lambda w: [w.frame(0, b"\x00\x01\x00\x00")]),
        ("an empty message", "closed 4400 gate.shape", lambda w: [b""]),
        ("an address that ends early", "closed 4400 gate.shape", lambda w: [b"\xff\x01abc"]),
        ("an address of no UTF-8", "closed 4400 wire.shape", lambda w: [b"\x02\xff\xfe\x07"]),
        ("an address of 300 bytes", "closed 4400 wire.shape", lambda w: [write_bytes(b"x" * 300) + b"\x07"]),
        ("a message of no JSON", "closed 4400 wire.shape", lambda w: [w.frame(5, write_bytes(b"{"))]),
        ("a message that is a list", "closed 4400 wire.shape", lambda w: [w.frame(5, write_bytes(b"[]"))]),
        ("a message deep as a well", "closed 4400 wire.shape", lambda w: [w.frame(5, write_bytes(b"[" * 16_000))]),
        ("a document not asked for", "closed 4400 wire.no_auth", lambda w: [w.update(EMPTY_UPDATE, document="route/x")]),
    ),
    Case(group="texts", name="a text frame", told="closed 1003 text", kept="wire.text", act=lambda w: [b"hello"], text=True),
    Case(group="texts", name="before any Auth, known by its token", told="closed 4400 wire.no_auth", opens=False, act=lambda w: [w.update(EMPTY_UPDATE)]),
    Case(group="texts", name="201 documents asked for", told="closed 4400 wire.documents", act=lambda w: [wire.encode_frame(wire.Auth(address=f"device/{w.me.number}/{n}", token="")) for n in range(2, 203)]),
]  # fmt: skip

VECTORS = _group(
    "vectors",
    ("a count that lies", "closed 4400 gate.shape", lambda w: [w.vector(b"\x05\x01\x01")]),
    ("a count of millions", "closed 4400 gate.shape", lambda w: [w.vector(write_varint(2**40) + b"\x01\x01")]),
    ("a writer twice", "closed 4400 gate.shape", lambda w: [w.vector(b"\x02\x01\x01\x01\x02")]),
    ("bytes behind the end", "closed 4400 gate.shape", lambda w: [w.vector(b"\x00\x00")]),
    ("no bytes", "closed 4400 gate.shape", lambda w: [w.vector(b"")]),
    ("a number longer than it need be", "closed 4400 gate.shape", lambda w: [w.vector(b"\x80\x00")]),
    ("a number beyond 2^53", "closed 4400 gate.shape", lambda w: [w.vector(b"\x01\x01" + write_varint(2**53))]),
    ("a number without end", "closed 4400 gate.shape", lambda w: [w.vector(b"\x01" + b"\xff" * 400)]),
    ("4,001 writers", "closed 4400 gate.shape", lambda w: [w.vector(write_varint(4_001) + b"".join(write_varint(n) + b"\x01" for n in range(4_001)))]),
    ("more of the server than it ever said", "taken", lambda w: [w.vector(gate.encode_state_vector({0: 2**52, w.victim.number: 2**52}))]),
    ("a flood of step 1", "closed 4400 wire.asks", lambda w: [w.vector(gate.encode_state_vector({0: 2**40, w.me.number: 2**40, w.victim.number: 2**40}))] * 700),
)  # fmt: skip
FLOODED_AUTHS = Case(
    group="vectors", name="a flood of Auth", told="closed 4400 wire.asks",
    act=lambda w: [wire.encode_frame(wire.Auth(address="route/none", token=""))] * 700,
)  # fmt: skip

NAMES = [
    Case(group="names", name=name, told="denied", asks=made)
    for name, made in (
        ("another warehouse's", lambda w: w.far.document),
        ("another device's", lambda w: f"device/{w.victim.number}/1"),
        ("somebody's route", lambda w: "route/2026-11-22-101"),
        ("a market", lambda w: "market/main/1"),
        ("a slash in front", lambda w: "/" + w.me.document),
        ("a slash behind", lambda w: w.me.document + "/"),
        ("two slashes", lambda w: w.me.document.replace("/", "//", 1)),
        ("through a folder above", lambda w: f"device/{w.me.number}/../../" + w.far.document),
        ("a folder below my own", lambda w: f"device/{w.me.number}/1/1"),
        ("my own without a number", lambda w: f"device/{w.me.number}/"),
        ("my own with a word", lambda w: f"device/{w.me.number}/one"),
        ("my own with a digit of another script", lambda w: f"device/{w.me.number}/１"),
        ("other case", lambda w: w.me.document.upper()),
        ("a space behind", lambda w: w.me.document + " "),
        ("percent signs", lambda w: w.far.document.replace("/", "%2f")),
        ("a session of another warehouse's", lambda w: w.far.document + "\0session"),
        ("my own name behind another's", lambda w: w.far.document + "\0" + w.me.document),
        ("a name of likes", lambda w: "warehouse/%/1"),
        ("a name with a quote", lambda w: "warehouse/w0/1' OR '1'='1"),
    )
] + [
    Case(group="names", name="no name", told="closed 4400 wire.side", asks=lambda w: "", kept="wire.side"),
    Case(group="names", name="a name of 201 bytes", told="closed 4400 wire.side", asks=lambda w: "x" * 201, kept="wire.side"),
    Case(group="names", name="no name but a session", told="closed 4400 wire.side", asks=lambda w: "\0session", kept="wire.side"),
]  # fmt: skip


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


TOKENS = [
    Case(group="tokens", name="none, and no Auth", told="closed 4400 wire.no_auth", token=lambda w: None, opens=False, kept="", act=lambda w: [w.update(EMPTY_UPDATE)]),
    Case(group="tokens", name="none, an empty one in the frame", told="denied", token=lambda w: None),
    Case(group="tokens", name="garbage", told="http 403", token=lambda w: "garbage"),
    Case(group="tokens", name="empty", told="denied", token=lambda w: ""),
    Case(group="tokens", name="cut", told="http 403", token=lambda w: w.stage.token(w.me)[:-2]),
    Case(group="tokens", name="turned around", told="http 403", token=lambda w: w.stage.token(w.me)[::-1]),
    Case(group="tokens", name="expired", told="http 403", token=lambda w: issue_token(w.stage.secret, w.me.number, now_ms=_now_ms() - 16 * 60_000)),
    Case(group="tokens", name="of another server", told="http 403", token=lambda w: issue_token(b"x" * 32, w.me.number, now_ms=_now_ms())),
    Case(group="tokens", name="of a number nobody has", told="http 403", token=lambda w: issue_token(w.stage.secret, 50_000, now_ms=_now_ms())),
    Case(group="tokens", name="no base64", told="http 403", token=lambda w: "!!!!"),
    Case(group="tokens", name="an expired reading token", told="http 403", token=lambda w: w.stage.reading_token(w.me.document, hours=-1)),
    Case(group="tokens", name="a reading token, another document", told="denied", token=lambda w: w.stage.reading_token(w.far.document)),
    Case(group="tokens", name="a reading token that writes", told="status 0", kept="wire.readonly", token=lambda w: w.stage.reading_token(w.me.document), act=lambda w: [w.next(w.seal(w.payload()))]),
]  # fmt: skip

NOT_MINE = sorted(kind.KIND for kind in kinds.ALL_KINDS if kinds.Role.WAREHOUSE not in kind.SAID_BY)
"""Every kind that a terminal may not say."""


def _role(kind: str) -> Act:
    subjects = [f"{name}:T1-1" for name in kinds.BY_KIND[kind].SUBJECTS] if kind in kinds.BY_KIND else ["document"]
    return lambda w: [w.fact(k=kind, s=subjects or ["document"], b={"device": 101, "role": "warehouse"})]


VOIDS = [
    *(Case(group="roles", name=f"{kind} by a terminal", told="void void.role", act=_role(kind)) for kind in NOT_MINE),
    *_group(
        "voids",
        ("admitting another to the document", "void void.role", lambda w: [w.fact(k="document.writer", s=["document"], b={"device": w.far.number, "role": "warehouse"})]),
        ("opening the document anew", "void void.role", lambda w: [w.fact(k="document.opened", s=["document"], b={"writers": {str(w.far.number): "warehouse"}})]),
        ("closing the document", "void void.role", lambda w: [w.fact(k="document.closed", s=["document"], b={"successor": None})]),
        ("a kind nobody knows", "void void.kind", lambda w: [w.fact(k="money.mine")]),
        ("a body of another kind", "void void.body", lambda w: [w.fact(b={"cell": 7})]),
        ("no subject of its kind", "void void.subjects", lambda w: [w.fact(s=["order:1"])]),
        ("a fact carried by no server", "void void.role", lambda w: [w.fact(c={"i": "0.1.0", "p": "x", "t": 1, "r": "server"})]),
        ("the origin of the victim's fact", "void void.role", lambda w: [w.fact(o=f"{w.victim.number}.1.0")]),
        ("the origin of the server's fact", "void void.role", lambda w: [w.fact(o="0.1.0")]),
    ),
    *_group(
        "without effect",
        ("a basis that claims the future", "taken", lambda w: [w.text(b={str(w.victim.number): 2**53 - 1, "0": 2**53 - 1})]),
        ("facts about another warehouse's piece", "taken", lambda w: [w.fact(s=[json.loads(w.said[0][gate.HEADER_BYTES :])["f"][0]["s"][0]])]),
        ("the year 287396", "taken", lambda w: [w.text(t=2**53 - 1)]),
        ("before 1970", "taken", lambda w: [w.text(t=-(2**53) + 1)]),
        ("a person nobody knows", "taken", lambda w: [w.text(p="nobody")]),
        ("a newer schema", "taken", lambda w: [w.text(v=2**40)]),
    ),
]  # fmt: skip

CASES = [
    *FORGED,
    *CHAINS,
    *DELETES,
    *MUTING,
    *PAYLOADS,
    *FIELDS,
    *FRAMES,
    *VECTORS,
    FLOODED_AUTHS,
    *NAMES,
    *TOKENS,
    *VOIDS,
]
