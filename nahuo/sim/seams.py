"""The one place where the simulator puts its hand into the code it runs: randomness of the system, and the price of a PIN.

`os.urandom` seals buyers' data (nonces and parcel keys stand in signed envelopes), so for the length of a run it is drawn from the seed.
scrypt takes 40 ms a PIN by design; one PIN is used throughout, so its hash is worked out once. The signing keys of devices and server
are passed in, derived from the seed. Nothing else is replaced: what draws randomness elsewhere (install tokens) reaches no envelope.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from random import Random
from typing import Any, Final

from sqlalchemy.util import LRUCache

from clients.runtime import sign_in
from server import commands
from server.store import Store

PIN: Final = "2468"
_COMPILED: Final[Any] = LRUCache(2_000)
_DIALECT: Final[dict[str, Any]] = {}
_SALT: Final = hashlib.sha256(b"nahuo sim salt").digest()[:16]
_slow_hash: Final = cache(sign_in.hash_pin)
"""The real function; a process hashes the one PIN once."""


@cache
def known_pin() -> tuple[str, str]:
    """Return (salt, hash) of the one PIN, as the server stores them."""
    return commands.pin_hash(PIN, _SALT)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the system's randomness from the seed, and remember PIN hashes, while this lasts."""
    random = Random(f"urandom {seed}")
    urandom, hash_pin = os.urandom, sign_in.hash_pin
    os.urandom = random.randbytes
    sign_in.hash_pin = _slow_hash
    try:
        yield
    finally:
        os.urandom, sign_in.hash_pin = urandom, hash_pin


def share_compiled(store: Store) -> None:
    """Let all engines of this process use one cache of compiled statements: the text of a statement is the same in every seed.

    The cache asks for the dialect as an object, so they use one of these as well.
    """
    for engine in (store.engine, store._writer_engine):
        engine._compiled_cache = _COMPILED
        engine.dialect = _DIALECT.setdefault("sqlite", engine.dialect)


def key_seed(seed: int, name: str) -> bytes:
    """Return the 32 bytes of a node's signing key in this run."""
    return hashlib.sha256(f"nahuo sim key {seed} {name}".encode()).digest()
