"""Make this device known to the server, once, with a one-time code; and give a copied device a number of its own.

The key pair is made on the device and its private half stays there. What comes back (number, role, the server's key, the people who may
sign in) is kept in the replica; from then on only envelopes that this server key signed count as the server's.
"""

from __future__ import annotations

from collections.abc import Mapping

from clients.runtime.device_key import NEXT, DeviceKey
from clients.runtime.ports import ServerDoor
from clients.runtime.repair import DAMAGE
from sync_core.errors import RefusedError
from sync_core.facts import Json
from sync_core.identity import Signer
from sync_core.replica import NEW_KEY, Replica


async def enrol(replica: Replica, signer: Signer, door: ServerDoor, code: str, *, program: str = "") -> int:
    """Redeem `code` and return this device's number; an enrolled device keeps the one it has.

    `program`: "field" or "warehouse", so that a code made for the other one is refused and not used up.

    Raises:
        RefusedError: the code is wrong, used, expired, or another program's.
        RetryableError: the server cannot be reached; the same code works later.
    """
    if replica.number is not None:
        # Also a copy's: it gets its next one by asking for it (`renumber`), which brings its work along.
        return replica.number
    answer = await door.enrol(
        {
            "code": code.strip(),
            "public_key": signer.public_key.hex(),
            "alg": signer.alg,
            "program": program,
        }
    )
    number, server_key = _read_certificate(answer)
    replica.enrol(number=number, server_key=server_key, certificate=answer)
    return number


async def renumber(replica: Replica, key: DeviceKey, door: ServerDoor) -> None:
    """Get a device another number with another key: a copied or restored one, or one that somebody wants a new key for.

    Unacknowledged work is said again under them. The same key is asked with until an answer arrives: the server may have allotted the
    number already, and the old one gets no tasks and no cells any more.

    Raises:
        RefusedError: the server does not know this device any more.
        RetryableError: the server cannot be reached; nothing is minted until it answers.
    """
    rotates = replica.wants_key and not (replica.is_copy or replica.is_forked)
    name, fresh = key.make_next(str((replica.setting(NEW_KEY)["file"] if rotates else replica.setting(NEXT)) or ""))
    damage = replica.setting(DAMAGE, {})
    asked: dict[str, Json] = {"public_key": fresh.public_key.hex(), "alg": fresh.alg}
    if rotates:
        replica.note_asked(name)
        asked["rotated"] = True
    else:
        with replica.transaction():
            replica.set_setting(NEXT, name)
    if damage and not damage["told"]:
        asked |= {"damaged": True, "serial": damage["serial"], "labels": list(damage["labels"])}
    answer = await door.renumber(asked)
    number, _ = _read_certificate(answer)
    try:
        with replica.transaction():
            key.take(name, fresh)
            replica.renumber(number, answer)
            if damage:
                replica.set_setting(DAMAGE, {**damage, "told": True})
    except BaseException:
        key.reload()
        raise
    replica.turn_token()


def _read_certificate(answer: Mapping[str, Json]) -> tuple[int, bytes]:
    number, key = answer.get("number"), answer.get("server_key")
    if not isinstance(number, int) or not isinstance(key, str):
        raise RefusedError("enrol.answer", "the server's answer names no number and key")
    try:
        server_key = bytes.fromhex(key)
    except ValueError as error:
        raise RefusedError("enrol.answer", "the server's key is not hex") from error
    return number, server_key
