"""Keys and signatures: the port, and Ed25519 behind it.

A device makes its key on its first start; the private half never leaves it. The enrolment names the algorithm (`alg`), so that a
key store which knows only P-256 can be used later. Keys and signatures are raw bytes: 32 and 64.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sync_core.errors import CorruptError
from sync_core.files import write_durably


class Signer(Protocol):
    """Signs as this device."""

    alg: str
    public_key: bytes

    def sign(self, signed: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        ...


def token_message(device: int, nonce: str) -> bytes:
    """Return what a device signs to get a token: the hub's nonce under its own number."""
    return f"nahuo token {device} {nonce}".encode()


class Ed25519Signer:
    """An Ed25519 key held in memory."""

    alg = "ed25519"

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, signed: bytes) -> bytes:
        """Return the signature of `signed`."""
        return self._key.sign(signed)


def open_signer(path: Path) -> Ed25519Signer:
    """Return the key of `path` (32 raw bytes, mode 600), made now if there is none.

    Raises:
        CorruptError: the file is no key.
    """
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        seed = os.urandom(32)
        write_durably(path, seed)
    if len(seed) != 32:
        raise CorruptError(
            f"{path.name} is not a key of 32 bytes: restore it from where it was kept, or enrol this device again"
        )
    return Ed25519Signer(seed)


class Verifier:
    """Checks signatures of one public key; a wrong key or signature is False, never an exception."""

    def __init__(self, public_key: bytes, alg: str = "ed25519") -> None:
        if alg != "ed25519":
            raise ValueError(f"the algorithm {alg} is not built in")
        self._key = Ed25519PublicKey.from_public_bytes(public_key)

    def __call__(self, signature: bytes, signed: bytes) -> bool:
        """True when `signature` is this key's over `signed`."""
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True
