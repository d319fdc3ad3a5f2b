"""The authority: reads accepted facts in log order and decides, each step one transaction with its verdicts, postings and position.

The problem: facts arrive twice, late and contradicting each other, the process may die at any instruction, and money must move exactly
once. The method: one thread; a reading position that moves in the transaction of what was decided; verdicts and postings with unique
keys made of the fact and the rule, so that even a lost position repeats nothing; states folded by the same pure code as on every
replica. A fact that makes a rule fail (our bug) is set aside as a discrepancy after its step was undone, and the rest goes on (REL-R15);
so is what time, the daily close or an upgrade is to settle (`works`).

Order: what arrived, then commands, then timers. `run_batch` does one transaction's worth and says whether there is more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select
from sqlalchemy.exc import OperationalError

from server import schema as s
from server.authority.batch import LAST_N, PLATFORM, Batch
from server.authority.commands import carry_out
from server.authority.daily import run_timers
from server.authority.deciding import correct_again, decide
from server.authority.intake import retry_money
from server.authority.log_reading import NEWER
from server.authority.restored import take_back
from server.authority.works import Work, do_each
from server.commands import body_to_keep, read_command
from server.installation import Server
from server.orders import OrderFileError
from server.rows import change_by_key, get_meta, read, set_meta, to_json
from sync_core.errors import MalformedError, RefusedError
from sync_core.facts import PlacedFact, is_server
from sync_core.fold import Trade
from sync_core.gate import HEADER_BYTES
from sync_core.payload import decode_payload
from trade.projections import MARKET_DAY

ENVELOPES_AT_ONCE: Final = 100
"""More than a step gets through: what it does not, the next one reads again."""
COMMANDS_AT_ONCE: Final = 20
TIMERS_MS: Final = 1000
POSITION: Final = "authority.position"
VOCABULARY: Final = "authority.vocabulary"
"""The version of the vocabulary that all rows were folded with."""

log = logging.getLogger("nahuo.authority")


class Authority:
    """Decides; runs on the writer thread only."""

    def __init__(self, server: Server, trade: Trade = MARKET_DAY) -> None:
        self._server = server
        self._store = server.store
        self._trade = trade
        self._timers_ms = 0
        self._upgraded = False

    def run_batch(self, now_ms: int, *, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Do one transaction's worth of work; True while there is more. `go_on` is asked after each envelope: False ends the batch
        with it, so that the hub can commit. A server that was put back to an older moment does nothing more (server/overtaken.py)."""
        if self._store.is_overtaken:
            return False
        self._upgrade(now_ms)
        with self._store.transaction() as conn:
            position = int(get_meta(conn, POSITION, 0))
            rows = read(conn, _NEXT, after_=position, at_most_=ENVELOPES_AT_ONCE).all()
            if rows:
                done = self._read(rows, now_ms, go_on)
                position = rows[done - 1].n
                set_meta(conn, POSITION, position)
                if done == ENVELOPES_AT_ONCE or done < len(rows):
                    return True
            commands = read(conn, _WAITING).all()
            for row in commands:
                self._command(row, now_ms)
            if now_ms - self._timers_ms >= TIMERS_MS or now_ms < self._timers_ms:
                self._timers(now_ms)
            # What stands behind all that devices sent was said in this transaction, and recorded as it was said: read, too.
            if (end := read(conn, LAST_N).scalar_one()) > position:
                set_meta(conn, POSITION, end)
            return len(commands) == COMMANDS_AT_ONCE

    def run_all(self, now_ms: int) -> None:
        """Work until nothing is left."""
        while self.run_batch(now_ms):
            pass

    # --- below ----------------------------------------------------------------------------------------------------------------

    def _upgrade(self, now_ms: int) -> None:
        """Once after the vocabulary grew: what waited for it is folded and decided, in one transaction, each fact once."""
        if self._upgraded:
            return
        with self._store.transaction() as conn:
            before = int(get_meta(conn, VOCABULARY, 1))
            if before < self._trade.schema:
                b = self._batch(conn, now_ms)
                counts = b.memory.judge_again()
                b.memory.fold_touched()
                do_each(b, [_understood(*one) for one in counts])
                self._finish(b)
            if (
                before != self._trade.schema
            ):  # An older program was put back: the next upgrade reads again what waits for it.
                set_meta(conn, VOCABULARY, self._trade.schema)
        self._upgraded = True

    def _batch(self, conn: Connection, now_ms: int, cause: str = "") -> Batch:
        return Batch(store=self._store, server=self._server, trade=self._trade, conn=conn, now_ms=now_ms, cause=cause)

    def _read(self, rows: Sequence[Row[Any]], now_ms: int, go_on: Callable[[], bool]) -> int:
        """Read as many as may be at once, and return how many; when that fails, one by one, so that only the bad one is set aside."""
        try:
            return self._step(now_ms, rows, go_on)
        except OperationalError:
            # The database could not write (full, locked, gone): no fact is to blame, and the whole batch is read again.
            raise
        except Exception:
            log.exception("a batch of %d envelopes failed; reading them one by one", len(rows))
            for done, row in enumerate(rows, 1):
                self._read_one(row, now_ms)
                if not go_on():
                    return done
            return len(rows)

    def _read_one(self, row: Row[Any], now_ms: int) -> None:
        try:
            self._step(now_ms, [row], lambda: True)
        except OperationalError:
            raise
        except Exception as error:  # one bad fact must stop neither picking nor money
            log.exception("envelope %s.%s of %s failed", row.device, row.seq, row.document)
            self._set_aside(row, str(error), now_ms)

    def _step(self, now_ms: int, rows: Sequence[Row[Any]], go_on: Callable[[], bool]) -> int:
        appended = {name: dict(heads) for name, heads in self._store.appended.items()}
        with self._store.transaction() as conn:
            try:
                with conn.begin_nested():
                    b = self._batch(conn, now_ms)
                    done = 0
                    for row in rows:
                        self._take(b, row)
                        done += 1
                        if not go_on():
                            break
                    self._finish(b)
                    return done
            except Exception:
                self._store.appended = appended
                raise

    def _take(self, b: Batch, row: Row[Any]) -> None:
        envelope = decode_payload(bytes(row.stored)[HEADER_BYTES:])
        facts, voids = b.memory.record(row.document, envelope, row.n)
        for reason, fact in voids:
            b.discrepancy(
                "schema.newer" if reason == NEWER else "void", f"device:{fact.writer}", PLATFORM, facts=[fact.id],
                key=f"void|{row.document}|{fact.writer}|{fact.seq}|{fact.index}", device=fact.writer, kind=fact.kind, reason=reason,
            )  # fmt: skip
        for fact in facts:
            if is_server(fact.writer):
                take_back(b, row.document, fact)
            else:
                decide(b, row.document, fact, received_ms=row.received_ms)
        _decide_late(b, row.received_ms)

    def _set_aside(self, row: Row[Any], error: str, now_ms: int) -> None:
        """Keep the facts of an envelope without deciding about them, and tell somebody. What cannot even be kept is told all the same:
        it stands in the log, and the reading goes on."""
        try:
            self._keep_undecided(row, error, now_ms, with_facts=True)
        except OperationalError:
            raise
        except Exception:
            log.exception("the facts of envelope %s.%s of %s cannot be kept", row.device, row.seq, row.document)
            self._keep_undecided(row, error, now_ms, with_facts=False)

    def _keep_undecided(self, row: Row[Any], error: str, now_ms: int, *, with_facts: bool) -> None:
        with self._store.transaction() as conn, conn.begin_nested():
            b = self._batch(conn, now_ms)
            if with_facts:
                # What an older gate let in and this one refuses cannot be recorded.
                with suppress(MalformedError):
                    b.memory.record(row.document, decode_payload(bytes(row.stored)[HEADER_BYTES:]), row.n)
            b.discrepancy(
                "authority_failed",
                f"device:{row.device}",
                PLATFORM,
                facts=[f"{row.device}.{row.seq}"],
                key=f"failed|{row.document}|{row.device}|{row.seq}",
                error=error[:200],
            )
            b.flush()

    def _command(self, row: Row[Any], now_ms: int) -> None:
        appended = {name: dict(heads) for name, heads in self._store.appended.items()}
        try:
            with self._store.transaction() as conn, conn.begin_nested():
                b = self._batch(conn, now_ms, cause=f"command:{row.id}")
                outcome = {"ok": True, **carry_out(b, read_command(row.kind, row.body), row.by)}
                self._finish(b)
        except OrderFileError as error:
            self._store.appended = appended
            problems = [problem.as_json() for problem in error.problems]
            outcome = {"ok": False, "code": error.code, "message": str(error), "problems": problems}
        except RefusedError as error:
            self._store.appended = appended
            outcome = {"ok": False, "code": error.code, "message": _both(error)}
        except OperationalError:
            self._store.appended = appended
            raise
        except Exception as error:
            self._store.appended = appended
            log.exception("command %s (%s) failed", row.id, row.kind)
            outcome = {
                "ok": False,
                "code": "invariant",
                "message": f"系统出错，没有改动任何东西 / our bug, nothing was changed: {error}",
            }
        with self._store.transaction() as conn:
            done = {"done_ms": now_ms, "outcome": to_json(outcome), "body": body_to_keep(row.kind, row.body)}
            change_by_key(conn, s.command, row.id, done)

    def _timers(self, now_ms: int) -> None:
        self._timers_ms = now_ms
        appended = {name: dict(heads) for name, heads in self._store.appended.items()}
        try:
            with self._store.transaction() as conn, conn.begin_nested():
                b = self._batch(conn, now_ms, cause="timer")
                run_timers(b)
                self._finish(b)
        except OperationalError:
            self._store.appended = appended
            raise
        except Exception:
            self._store.appended = appended
            log.exception("a timer failed")

    def _finish(self, b: Batch) -> None:
        """Let what waited for money go on, then write what was said and fold it; what that admits is decided, too."""
        while True:
            for _ in range(3):
                waiting, b.rescreen = b.rescreen, set()
                for merchant in sorted(waiting):
                    retry_money(b, merchant)
            b.flush()
            if not _decide_late(b, b.now_ms):
                return


_NEXT: Final = (
    select(s.envelope).where(s.envelope.c.n > bindparam("after_")).order_by(s.envelope.c.n).limit(bindparam("at_most_"))
)
_WAITING: Final = (
    select(s.command).where(s.command.c.done_ms.is_(None)).order_by(s.command.c.id).limit(COMMANDS_AT_ONCE)
)


def _decide_late(b: Batch, received_ms: int) -> bool:
    """Decide what was void until the server's word that admitted its author; True when there was any."""
    late, b.memory.late = b.memory.late, []
    for document, fact in late:
        b.settle_discrepancy(
            f"void|{document}|{fact.writer}|{fact.seq}|{fact.index}", "后来得到准许 / admitted after all"
        )
        decide(b, document, fact, received_ms=received_ms)
    return bool(late)


def _understood(document: str, fact: PlacedFact, received_ms: int) -> Work:
    """A fact that waited for the upgrade counts now."""
    key = f"{document}|{fact.writer}|{fact.seq}|{fact.index}"

    def count(b: Batch) -> int:
        b.settle_discrepancy(f"void|{key}", "升级后已读懂 / understood since the upgrade")
        if is_server(fact.writer):
            take_back(b, document, fact)
        else:
            decide(b, document, fact, received_ms=received_ms)
            correct_again(b, fact)
        return 1

    return Work(name=f"upgrade:{key}", subject=f"device:{fact.writer}", do=count)


def _both(error: RefusedError) -> str:
    zh, en = getattr(error, "zh", None), getattr(error, "en", None)
    return f"{zh} / {en}" if zh and en else str(error)
