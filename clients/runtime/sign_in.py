"""Who holds the device: sign-in by PIN, also with no signal, and the lock after ten idle minutes (D20, REL-T5).

The people and their PIN hashes come with the device's own document; the check is local. A PIN has few digits, so guessing is
slowed, not the hash alone: after five wrong ones each further guess waits twice as long, up to an hour. The count of wrong
guesses is on disk before the answer is shown, and the wait runs on the steady clock from the last guess or from the program's
start, whichever is later: neither setting the clock nor killing the program shortens it. Times in milliseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from clients.runtime.ports import Clock
from sync_core.errors import RefusedError

IDLE_MS_MAX: Final = 10 * 60_000
FREE_GUESSES: Final = 5
WAIT_MS_MIN: Final = 30_000
WAIT_MS_MAX: Final = 3_600_000
PIN_LENGTH_MAX: Final = 12
_NOBODY: Final = "?"
"""Guesses for names nobody bears are counted together, so that they cannot fill the disk."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS wrong_pin (
    person TEXT PRIMARY KEY,
    count INTEGER NOT NULL CHECK (count > 0)
) STRICT
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """The person whose name the actions carry."""

    id: str
    name: str


class Database(Protocol):
    """The part of the replica the sign-in needs."""

    @property
    def conn(self) -> sqlite3.Connection:
        """The one connection."""
        ...

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """BEGIN IMMEDIATE … COMMIT."""
        ...


class SignIn:
    """One person at a time. `people` are those of the device document: {id, name, pin_salt, pin_hash}."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._person: SignedIn | None = None
        self._used_ms = 0
        self._guessed_ms: dict[str, int] = {}
        self._started_ms = clock.steady_ms()
        with database.transaction() as conn:
            conn.execute(_SCHEMA)

    def person(self) -> SignedIn | None:
        """Return who is signed in, or None when nobody is or the device lay idle for ten minutes."""
        if self._person is not None and self._clock.steady_ms() - self._used_ms >= IDLE_MS_MAX:
            self._person = None
        return self._person

    def touch(self) -> None:
        """Note that the person just did something."""
        self._used_ms = self._clock.steady_ms()

    def lock(self) -> None:
        """Sign out."""
        self._person = None

    def wait_ms(self, person: str) -> int:
        """Return how long the next guess for `person` must wait; 0 when it need not."""
        row = self._database.conn.execute("SELECT count FROM wrong_pin WHERE person = ?", (person,)).fetchone()
        if row is None or row[0] < FREE_GUESSES:
            return 0
        since_ms = max(self._guessed_ms.get(person, 0), self._started_ms)
        wait_ms: int = min(WAIT_MS_MIN << min(row[0] - FREE_GUESSES, 20), WAIT_MS_MAX)
        left_ms: int = since_ms + wait_ms - self._clock.steady_ms()
        return max(0, left_ms)

    def sign_in(self, people: Sequence[Mapping[str, Any]], person: str, pin: str) -> SignedIn:
        """Return who signed in.

        Raises:
            RefusedError: `sign_in.wait` (guessing is slowed), `sign_in.wrong` (person or PIN), `sign_in.nobody` (the device
                knows no people yet).
        """
        if not people:
            raise RefusedError("sign_in.nobody", "the device has not heard yet who may use it")
        found = next((row for row in people if row["id"] == person), None)
        counted = person if found is not None else _NOBODY
        wait_ms = self.wait_ms(counted)
        if wait_ms > 0:
            raise RefusedError("sign_in.wait", str(-(-wait_ms // 1000)))
        # A name nobody bears costs the same work as a wrong PIN.
        salt, expected = (found["pin_salt"], found["pin_hash"]) if found is not None else ("00" * 16, "00" * 32)
        fits = hmac.compare_digest(hash_pin(pin, salt), str(expected).lower())
        with self._database.transaction() as conn:
            if found is None or not fits:
                conn.execute(
                    "INSERT INTO wrong_pin (person, count) VALUES (?, 1)"
                    " ON CONFLICT (person) DO UPDATE SET count = count + 1",
                    (counted,),
                )
            else:
                conn.execute("DELETE FROM wrong_pin WHERE person = ?", (counted,))
        self._guessed_ms[counted] = self._clock.steady_ms()
        if found is None or not fits:
            raise RefusedError("sign_in.wrong", "the PIN is wrong")
        self._person = SignedIn(id=found["id"], name=found["name"])
        self.touch()
        return self._person


def hash_pin(pin: str, salt: str) -> str:
    """Return the hash the device document holds: scrypt, n=2**14, r=8, p=1, 32 bytes, hex; `salt` is hex too."""
    try:
        salt_bytes = bytes.fromhex(salt)
    except ValueError:
        return ""
    return hashlib.scrypt(pin[:PIN_LENGTH_MAX].encode(), salt=salt_bytes, n=2**14, r=8, p=1, dklen=32).hex()
