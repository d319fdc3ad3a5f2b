"""One step of the authority: what it says, books and notes, all in one transaction.

Facts to be said are collected per document and written at the end of the step as few signed envelopes, whose basis covers all that
the authority had read. A step that is refused is dropped whole: nothing was appended before `flush`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Result, Row, Table, Update, bindparam, delete, func, select, update

from server import schema as s
from server import schema_trade as st
from server.authority.line_reading import missing_stories, newest_of_line
from server.authority.log_reading import Memory
from server.authority.words import DISCREPANCIES, NOTICES
from server.installation import Server
from server.ledger import About, Ledger
from server.rows import Query, add, change, change_by_key, insert_once, read, row_by_key, rows_where, to_json, upsert
from server.settings import Settings, read_settings
from server.store import Store
from sync_core import limits
from sync_core.facts import (
    DOCUMENT_CLOSED,
    DOCUMENT_OPENED,
    DOCUMENT_WRITER,
    Envelope,
    Fact,
    PlacedFact,
    carry,
    subject_type,
)
from sync_core.fold import Trade
from sync_core.gate import Head, digest_of, empty_head, seal
from sync_core.hub import LogRow
from sync_core.lines import line_of, next_in_line
from sync_core.payload import canonical_json, encode_payload
from trade import kinds
from trade.calendar import business_day
from trade.carry import DocumentKind, carry_targets, document_kind

PLATFORM: Final = "platform"
_PAYLOAD_BYTES_MAX: Final = limits.ENVELOPE_BYTES_MAX - 4096
"""Leaves room for the basis and the frame of the payload."""


@dataclass(slots=True)
class Batch:
    """The working set of one step. Not a value: it gathers what is to be said."""

    store: Store
    server: Server
    trade: Trade
    conn: Connection
    now_ms: int
    cause: str = ""
    """`command:<id>` while a command is carried out."""
    _said: dict[str, list[Fact]] = field(default_factory=dict)
    _ledger: Ledger | None = None
    _memory: Memory | None = None
    _settings: Settings | None = None
    _newest: dict[str, str] = field(default_factory=dict)
    _brought: set[tuple[str, str]] = field(default_factory=set)
    rescreen: set[str] = field(default_factory=set)
    """Merchants whose waiting orders may have the money now."""

    @property
    def ledger(self) -> Ledger:
        """The journal."""
        if self._ledger is None:
            self._ledger = Ledger(self.conn, self.now_ms)
        return self._ledger

    @property
    def memory(self) -> Memory:
        """What was read."""
        if self._memory is None:
            self._memory = Memory(self.conn, self.trade)
        return self._memory

    @property
    def settings(self) -> Settings:
        """The platform's settings."""
        if self._settings is None:
            self._settings = read_settings(self.conn)
        return self._settings

    @property
    def today(self) -> str:
        """The market's business day (D22)."""
        return business_day(self.now_ms, self.settings.calendar)

    def alone(self, work: Callable[[Batch], int]) -> int:
        """Do `work` in a step of its own within this one, which a failure undoes and nothing else; returns what it returned.

        What was said before is written first; what this step had read is read again after. Raises what `work` raises.
        """
        self.flush()
        appended = {name: dict(heads) for name, heads in self.store.appended.items()}
        inner = Batch(
            store=self.store, server=self.server, trade=self.trade, conn=self.conn, now_ms=self.now_ms, cause=self.cause
        )
        try:
            with self.conn.begin_nested():
                done = work(inner)
                inner.flush()
        except BaseException:
            self.store.appended = appended
            raise
        finally:
            self._ledger, self._memory, self._settings = None, None, None
            self._newest.clear()
        self.rescreen |= inner.rescreen
        return done

    # --- once ------------------------------------------------------------------------------------------------------------

    def once(self, document: str, fact: str, rule: str, outcome: Mapping[str, Any] | None = None) -> bool:
        """Note that `rule` decides about a fact now; False when it did before, whatever restarted since."""
        row = {
            "id": f"{document}|{fact}|{rule}",
            "fact": fact,
            "document": document,
            "rule": rule,
            "outcome": to_json(dict(outcome or {})),
            "decided_ms": self.now_ms,
        }
        return insert_once(self.conn, s.verdict, row)

    def forget(self, document: str, fact: str, rule: str) -> None:
        """Let a rule note an outcome once more."""
        self.conn.execute(delete(s.verdict).where(s.verdict.c.id == f"{document}|{fact}|{rule}"))

    def verdict_of(self, document: str, fact: str, rule: str) -> dict[str, Any] | None:
        """Return the outcome a rule gave a fact before."""
        found = self.read(_VERDICT, id_=f"{document}|{fact}|{rule}").scalar()
        return None if found is None else dict(json.loads(found))

    # --- saying ----------------------------------------------------------------------------------------------------------

    def newest(self, document: str) -> str:
        """Return the open document of a document's line: what is to be said goes there."""
        line = line_of(document)
        if line is None:
            return document
        if line not in self._newest:
            self._newest[line] = newest_of_line(self.conn, document)
        return self._newest[line]

    def forget_newest(self, document: str) -> None:
        """Look again which document of a line is open."""
        self._newest.pop(line_of(document) or document, None)

    def is_closed(self, document: str) -> bool:
        """True when a document has ended: what is read there now came late."""
        row = self.row(s.document, document)
        return row is not None and row.closed_ms is not None

    def say(self, document: str | None, fact: Fact) -> None:
        """Say a fact in the open document of a document's line at the end of this step; None says nothing."""
        if document is not None:
            self.say_here(self.newest(document), fact)

    def say_here(self, document: str, fact: Fact) -> None:
        """Say a fact in this very document, ended or not."""
        self._said.setdefault(document, []).append(fact)

    def say_to(self, documents: Iterable[str | None], fact: Fact) -> None:
        """Say a fact in several documents, in each once."""
        for document in dict.fromkeys(documents):
            self.say(document, fact)

    def carry_on(self, document: str, fact: PlacedFact) -> None:
        """Write a device's fact, whole, into the other open documents that need it (`trade.carry`), and a late one into the
        successor of the document that it was said in.

        The stall leads to the directory only: another task at the same stall may be another organisation's (D20). A bag scan leads to the
        trip that it names only: the runner who brought the piece back before does not have it again (D15).
        """
        targets = carry_targets(fact.kind)
        here = self.newest(document)
        bagged = fact.kind == kinds.PieceBagged.KIND
        subjects = [x for x in fact.subjects if not bagged or subject_type(x) == "trip"]
        speaking = self._speaking_of(subjects, targets) if targets else []
        for other in dict.fromkeys(self.newest(name) for name in speaking):
            if other in (document, here) or document_kind(other) not in targets or self.is_closed(other):
                continue
            if document_kind(other) == "trip" and self._organisation_of(other) != self._writers_organisation(
                fact.writer
            ):
                continue  # A bag of the same name, in another organisation's house (D20).
            self.say(other, carry(fact))
        if here != document:
            self.say(here, carry(fact))

    def _speaking_of(self, subjects: Sequence[str], targets: frozenset[DocumentKind]) -> list[str]:
        stalls = [x for x in subjects if subject_type(x) == "stall"]
        found = self.memory.documents_of([x for x in subjects if x not in stalls])
        if "market" in targets:
            found += [name for name in self.memory.documents_of(stalls) if document_kind(name) == "market"]
        return found

    def _organisation_of(self, document: str) -> str:
        """The organisation of the device that a route or trip is for."""
        row = self.row(s.document, document)
        return "" if row is None or not row.owner.isdigit() else self._writers_organisation(int(row.owner))

    def _writers_organisation(self, number: int) -> str:
        device = self.row(s.device, number)
        return "" if device is None else str(device.organisation)

    def open_document(self, name: str, *, owner: str, writers: Mapping[int, str]) -> None:
        """Open a document, or admit further writers to it, or to the open one of its line."""
        name = self.newest(name)
        row = {"name": name, "kind": document_kind(name) or "", "owner": owner, "opened_ms": self.now_ms}
        if insert_once(self.conn, s.document, row):
            self._said[name] = [
                Fact(
                    kind=DOCUMENT_OPENED,
                    subjects=("document",),
                    body={"writers": {str(number): role for number, role in writers.items()}},
                )
            ]
            return
        for number, role in writers.items():
            self.admit(name, number, role)

    def open_successor(self, old: str, *, owner: str, writers: Mapping[int, str], facts: Sequence[Fact]) -> str:
        """Close a document and open the next of its line with what is carried in; returns its name. All said before is written first."""
        self.flush()
        name = next_in_line(old)
        self.add(s.document, name=name, kind=document_kind(name) or "", owner=owner, opened_ms=self.now_ms)
        self._newest[line_of(name) or name] = name
        named = {str(number): role for number, role in sorted(writers.items())}
        opened = Fact(kind=DOCUMENT_OPENED, subjects=("document",), body={"writers": named, "opening": 1})
        count = len(_split([opened, *facts]))
        opened = Fact(kind=DOCUMENT_OPENED, subjects=("document",), body={"writers": named, "opening": count})
        self._brought |= {(name, subject) for fact in facts for subject in fact.subjects}
        self._said[name] = [opened, *facts]
        self.say_here(old, Fact(kind=DOCUMENT_CLOSED, subjects=("document",), body={"successor": name}))
        self.flush()
        return name

    def admit(self, document: str, device: int, role: str) -> None:
        """Let a device speak in a document, unless it does already."""
        document = self.newest(document)
        if self.memory.role_of(document, device) == role:
            return
        fact = Fact(kind=DOCUMENT_WRITER, subjects=("document",), body={"device": device, "role": role})
        said = self._said.get(document, [])
        opened = said[0].body.get("writers", {}) if said and said[0].kind == DOCUMENT_OPENED else {}
        if fact not in said and opened.get(str(device)) != role:
            self.say(document, fact)

    def flush(self) -> None:
        """Write what is to be said: seal, append, record, fold. Whoever was left behind and is spoken of again comes back whole."""
        for document in sorted({*self._said, *(document for document, _ in self.memory.touched)}):
            said_here = self._said.get(document, [])
            stories = missing_stories(self.memory, document, said_here, brought=self._brought)
            if stories:
                self._said[document] = [*stories, *said_here]
        while self._said:
            said, self._said = self._said, {}
            for document, facts in said.items():
                self._write(document, facts)
        self.memory.fold_touched()

    def _write(self, document: str, facts: Sequence[Fact]) -> None:
        number = self.server.number
        head: Head = self.store.heads(document).get(number) or empty_head(document)
        rows: list[LogRow] = []
        envelopes: list[Envelope] = []
        read = {device: seq for device, seq in self.memory.read_of(document).items() if device != number}
        before = self.memory.basis_of(document, number)
        for part in _split(facts):
            basis = {device: seq for device, seq in read.items() if before.get(device, 0) < seq}
            envelope = Envelope(
                device=number,
                seq=head.seq + 1,
                person="server",
                at_ms=self.now_ms,
                schema=self.trade.schema,
                basis=basis,
                facts=tuple(part),
            )
            stored = seal(encode_payload(envelope), head.digest, self.server.signer.sign)
            head = Head(seq=envelope.seq, digest=digest_of(stored))
            rows.append(LogRow(device=number, seq=head.seq, stored=stored, digest=head.digest, received_ms=self.now_ms))
            envelopes.append(envelope)
            before = read
        self.store.append(document, rows)
        last = self.read(LAST_N).scalar_one()
        for envelope in envelopes:
            self.memory.record(document, envelope, last - (head.seq - envelope.seq))

    # --- telling people ----------------------------------------------------------------------------------------------------

    def discrepancy(
        self, code: str, subject: str, owner: str, /, *, facts: Sequence[str] = (), key: str = "", **parts: object
    ) -> None:
        """Open a discrepancy, once per key (default: code and subject); `parts` fill its words in (`words`)."""
        zh, en = DISCREPANCIES[code]
        row = {
            "key": key or f"{code}|{subject}",
            "code": code,
            "subject": subject,
            "owner": owner,
            "zh": zh.format(**parts),
            "en": en.format(**parts),
            "facts": to_json(list(facts)),
            "opened_ms": self.now_ms,
        }
        insert_once(self.conn, st.discrepancy, row)

    def settle_discrepancy(self, key: str, note: str) -> None:
        """Resolve a discrepancy that later facts explained."""
        self.change(_SETTLE, key_=key, resolved_ms=self.now_ms, note=note)

    def reopen_discrepancy(self, key: str) -> None:
        """Open a settled discrepancy again: the same thing happened once more."""
        d = st.discrepancy
        self.conn.execute(
            update(d)
            .where(d.c.key == key, d.c.resolved_ms.is_not(None))
            .values(resolved_ms=None, note="", opened_ms=self.now_ms)
        )

    def notice(self, owner: str, code: str, subject: str, /, *, fact: str = "", **parts: object) -> None:
        """Put something into an owner's inbox (I14); `parts` fill its words in (`words`)."""
        zh, en = NOTICES[code]
        self.add(
            st.notice,
            owner=owner,
            code=code,
            subject=subject,
            zh=zh.format(**parts),
            en=en.format(**parts),
            fact=fact,
            at_ms=self.now_ms,
        )

    def ask(
        self,
        kind: str,
        subject: str,
        *,
        order: str,
        merchant: str,
        cause: str,
        detail: Mapping[str, Any],
        deadline_ms: int | None = None,
    ) -> None:
        """Ask a merchant to decide, once per cause."""
        row = {
            "kind": kind,
            "subject": subject,
            "order_id": order,
            "merchant": merchant,
            "cause": cause,
            "detail": to_json(dict(detail)),
            "opened_ms": self.now_ms,
            "deadline_ms": deadline_ms,
        }
        insert_once(self.conn, st.decision, row)

    def decided(self, kinds_: Sequence[str], subject: str, choice: str) -> int:
        """Close the open questions of these kinds about a subject; returns how many there were."""
        return self.change(_DECIDED, kinds_=kinds_, subject_=subject, resolved_ms=self.now_ms, choice=choice)

    # --- rows --------------------------------------------------------------------------------------------------------------

    def row(self, table: Table, key: Any) -> Row[Any] | None:
        """Return the row of a table by its first primary key column."""
        return row_by_key(self.conn, table, key)

    def rows(self, table: Table, *, order: str | None = None, **equal: Any) -> Sequence[Row[Any]]:
        """Return the rows of a table whose columns have these values."""
        return rows_where(self.conn, table, order=order, **equal)

    def read(self, query: Query, /, **values: Any) -> Result[Any]:
        """Run a query that its module built once."""
        return read(self.conn, query, **values)

    def change(self, statement: Update, /, **values: Any) -> int:
        """Run an update that its module built once; returns how many rows it met."""
        return change(self.conn, statement, **values)

    def set(self, table: Table, key: Any, **values: Any) -> None:
        """Change the row of a table by its first primary key column."""
        change_by_key(self.conn, table, key, values)

    def add(self, table: Table, **values: Any) -> None:
        """Insert a row."""
        add(self.conn, table, values)

    def put(self, table: Table, keys: Sequence[str], **values: Any) -> None:
        """Insert or overwrite a row."""
        upsert(self.conn, table, keys, values)

    def about(self, *, order: Row[Any] | None = None, task: str = "", piece: str = "", fact: str = "") -> About:
        """Return what an entry speaks of; causes are the fact, or the command at hand."""
        causes = tuple(cause for cause in (f"fact:{fact}" if fact else "", self.cause) if cause)
        return About(
            merchant=order.merchant if order is not None else "",
            order=order.id if order is not None else "",
            task=task,
            piece=piece,
            causes=causes,
        )


def warehouse_document(warehouse: str) -> str:
    """The first document of the warehouse's line: what is said in it goes to the open one (`Batch.newest`)."""
    return f"warehouse/{warehouse}/1"


def warehouse_of(document: str) -> str:
    """The warehouse that a document of its line belongs to; "" for any other document."""
    return document.split("/")[1] if document_kind(document) == "warehouse" else ""


def market_document(market: str) -> str:
    """The first document of the market's line."""
    return f"market/{market}/1"


def device_document(number: int) -> str:
    """The first of a device's own documents."""
    return f"device/{number}/1"


def stall_subject(stall_id: str) -> str:
    """Stalls are kept by their subject id, `stall:market/floor/stall`."""
    return stall_id


def body_of(fact: PlacedFact) -> kinds.FactBody:
    """Return the body of a fact that is not void."""
    return kinds.BY_KIND[fact.kind].model_validate(fact.body)


_VERDICT: Final = select(s.verdict.c.outcome).where(s.verdict.c.id == bindparam("id_"))
LAST_N: Final = select(func.coalesce(func.max(s.envelope.c.n), 0))
"""Where the log ends now."""
_SETTLE: Final = update(st.discrepancy).where(
    st.discrepancy.c.key == bindparam("key_"), st.discrepancy.c.resolved_ms.is_(None)
)
_DECIDED: Final = update(st.decision).where(
    st.decision.c.kind.in_(bindparam("kinds_", expanding=True)),
    st.decision.c.subject == bindparam("subject_"),
    st.decision.c.resolved_ms.is_(None),
)


def _split(facts: Sequence[Fact]) -> list[list[Fact]]:
    groups: list[list[Fact]] = []
    size = 0
    for fact in facts:
        length = len(canonical_json([fact.kind, list(fact.subjects), dict(fact.body)])) + 160
        if not groups or size + length > _PAYLOAD_BYTES_MAX or len(groups[-1]) >= limits.FACTS_PER_ENVELOPE_MAX:
            groups.append([])
            size = 0
        groups[-1].append(fact)
        size += length
    return groups
