"""The device's key, and the next one: a restored or copied device gets a new number under a new key.

Which file holds the key in force stands in the replica, so that number and key change in one transaction: a kill between two steps
leaves the old number with the old key, or the new number with the new one, never a mixture that can sign nothing.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from sync_core.identity import Signer, open_signer
from sync_core.replica import Replica

FIRST_KEY: Final = "device.key"
SETTING: Final = "key_file"
NEXT: Final = "next_key_file"
"""The setting of a copy that has asked for a number: the key it asked with. The server may have allotted one for it already."""


class DeviceKey:
    """Signs as this device, whichever key is in force; implements `Signer`."""

    def __init__(self, folder: Path, replica: Replica) -> None:
        self._folder = folder
        self._replica = replica
        name = str(replica.setting(SETTING, FIRST_KEY))
        self._opened: dict[str, Signer] = {name: open_signer(folder / name)}
        self._use(name)
        replica.use_key(self)

    def sign(self, signed: bytes) -> bytes:
        """Return the signature of `signed`."""
        return self._signer.sign(signed)

    def make_next(self, name: str = "") -> tuple[str, Signer]:
        """Make a key that is on the disk and not in force yet, or take the one made under `name`; return its file's name and itself."""
        name = name or f"device-{secrets.token_hex(4)}.key"
        return name, open_signer(self._folder / name)

    def take(self, name: str, signer: Signer) -> None:
        """Put a key in force; inside the transaction that writes the new number."""
        self._replica.set_setting(SETTING, name)
        self._replica.set_setting(NEXT, None)
        self._opened[name] = signer
        self._use(name)

    def reload(self) -> None:
        """Take what the replica says again, after a transaction that was undone. Reads no file: the disk may be what failed."""
        self._use(str(self._replica.setting(SETTING, FIRST_KEY)))

    def _use(self, name: str) -> None:
        self._signer = self._opened[name]
        self.alg, self.public_key = self._signer.alg, self._signer.public_key
