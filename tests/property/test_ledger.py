"""Random operations on the wallet: nothing is ever made or lost, nothing goes below zero, a refused one changes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from server import schema as s
from server.ledger import PRINCIPAL, About, HoldPart, Ledger
from server.ledger_reading import recount, statement
from server.store import open_store
from sync_core.errors import InvariantError, RefusedError

MERCHANTS = st.sampled_from(["m1", "m2"])
SUBJECTS = st.sampled_from(["T1-1", "T1-2", "T2-1"])
AMOUNTS = st.one_of(st.integers(1, 3), st.integers(98_00, 102_00), st.integers(1, 300_00))
KEYS = st.sampled_from(["a", "b", "c", "d"])


class Wallets(RuleBasedStateMachine):
    """A model of two merchants' wallets beside the real journal."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(Path(self.folder.name) / "w.db", synchronous="OFF")
        self.free = {"m1": 0, "m2": 0}
        self.held: dict[tuple[str, str], int] = {}
        self.owner: dict[str, str] = {}
        self.done: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def about(self, merchant: str) -> About:
        return About(merchant=merchant, causes=("test",))

    @rule(merchant=MERCHANTS, amount=AMOUNTS, key=KEYS)
    def top_up(self, merchant: str, amount: int, key: str) -> None:
        with self.store.transaction() as conn:
            fresh = Ledger(conn, 1).top_up(amount, key=key, about=self.about(merchant))
        assert fresh == (f"topup:{key}" not in self.done)
        if fresh:
            self.done.add(f"topup:{key}")
            self.free[merchant] += amount

    @rule(merchant=MERCHANTS, subject=SUBJECTS, amount=AMOUNTS, key=KEYS)
    def hold(self, merchant: str, subject: str, amount: int, key: str) -> None:
        owner = self.owner.setdefault(subject, merchant)
        name = f"hold:{subject}:{key}"
        part = HoldPart(subject=subject, part=PRINCIPAL, amount_fen=amount)
        try:
            with self.store.transaction() as conn:
                fresh = Ledger(conn, 1).hold([part], key=name, about=self.about(owner), zh="冻结", en="held")
        except RefusedError:
            assert amount > self.free[owner]
            return
        assert fresh == (name not in self.done)
        if fresh:
            self.done.add(name)
            self.free[owner] -= amount
            self.held[subject, PRINCIPAL] = self.held.get((subject, PRINCIPAL), 0) + amount

    @rule(subject=SUBJECTS, amount=AMOUNTS, key=KEYS)
    def post(self, subject: str, amount: int, key: str) -> None:
        owner = self.owner.setdefault(subject, "m1")
        name = f"post:{subject}:{key}"
        open_fen = self.held.get((subject, PRINCIPAL), 0)
        try:
            with self.store.transaction() as conn:
                fresh = Ledger(conn, 1).post(subject, amount, key=name, about=self.about(owner))
        except InvariantError:
            assert amount > open_fen
            return
        assert fresh == (name not in self.done)
        if fresh:
            self.done.add(name)
            self.held[subject, PRINCIPAL] = open_fen - amount

    @rule(subject=SUBJECTS, key=KEYS)
    def release(self, subject: str, key: str) -> None:
        owner = self.owner.setdefault(subject, "m1")
        name = f"release:{subject}:{key}"
        with self.store.transaction() as conn:
            given = Ledger(conn, 1).release(subject, key=name, about=self.about(owner), zh="退回", en="back")
        open_fen = self.held.get((subject, PRINCIPAL), 0)
        assert given == (0 if name in self.done else open_fen)
        if given:
            self.done.add(name)
            self.free[owner] += given
            self.held[subject, PRINCIPAL] = 0

    @rule(merchant=MERCHANTS, amount=AMOUNTS, key=KEYS)
    def credit(self, merchant: str, amount: int, key: str) -> None:
        name = f"credit:{key}"
        with self.store.transaction() as conn:
            fresh = Ledger(conn, 1).credit(amount, key=name, about=self.about(merchant), zh="本金", en="principal")
        assert fresh == (name not in self.done)
        if fresh:
            self.done.add(name)
            self.free[merchant] += amount

    @rule(subject=SUBJECTS, amount=AMOUNTS)
    def fail(self, subject: str, amount: int) -> None:
        """A transaction that dies after a posting leaves nothing."""
        owner = self.owner.setdefault(subject, "m1")
        try:
            with self.store.transaction() as conn:
                Ledger(conn, 1).top_up(amount, key="dies", about=self.about(owner))
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass

    @invariant()
    def adds_up(self) -> None:
        if not hasattr(self, "store"):
            return
        with self.store.reading() as conn:
            found = recount(conn)
            assert found.holds, found.faults
            assert found.sum_fen == 0
            for merchant, free in self.free.items():
                lines = statement(conn, merchant)
                frozen = sum(fen for (subject, _), fen in self.held.items() if self.owner.get(subject) == merchant)
                last = (lines[-1].available_fen, lines[-1].held_fen) if lines else (0, 0)
                assert last == (free, frozen)
                assert all(line.available_fen >= 0 and line.held_fen >= 0 for line in lines)
            assert len(set(conn.execute(select(s.entry.c.key)).scalars())) == found.entries


Wallets.TestCase.settings = settings(max_examples=20, stateful_step_count=20)
TestWallets = Wallets.TestCase
