"""How long a device has been without its server, and what it did meanwhile: the end of its certificate, and its offline quota (REL-R10).

A certificate lasts some days from the device's last contact, which is its last token request or its open link, by this server's clock.
A device that comes back later, or that delivers more than the quota of one absence, is believed nothing without a person: what it
delivers from then on is parked, in its order, until a supervisor releases it. No word of the device decides this: when it was heard
last and when its envelopes arrive is what the server itself saw. Decision record 13.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection

from server import schema as s
from server.authority.batch import Batch
from server.rows import change_by_key, row_by_key, upsert
from server.settings import Settings, read_settings
from sync_core.facts import Json, PlacedFact
from sync_core.identity import Signer
from sync_core.payload import canonical_json
from trade import kinds

DAY_MS: Final = 86_400_000
ABSENT_MS_MIN: Final = 15 * 60_000
"""Shorter is no absence: a token is good for as long."""
QUIET_MS: Final = 60_000
"""What a device delivers after it said nothing for this long was not said during the absence."""


def was_away(conn: Connection, device: int, *, now_ms: int) -> bool:
    """True when the device comes back from an absence that is not noted yet."""
    known = row_by_key(conn, s.device, device)
    return known is not None and now_ms - _heard_ms(known) >= ABSENT_MS_MIN


def note_return(conn: Connection, device: int, *, now_ms: int) -> None:
    """Note that a device is back and when it was heard last, before anything it brings is taken."""
    known = row_by_key(conn, s.device, device)
    if known is None or not was_away(conn, device, now_ms=now_ms):
        return
    from_ms = _heard_ms(known)
    change_by_key(conn, s.device, device, {"seen_ms": now_ms})
    before = row_by_key(conn, s.absence, device)
    if before is not None and before.beyond:
        return  # It waits for a supervisor already, and goes on waiting.
    late = now_ms - from_ms > read_settings(conn).offline_days * DAY_MS
    upsert(
        conn,
        s.absence,
        ("device",),
        {
            "device": device,
            "from_ms": from_ms,
            "back_ms": now_ms,
            "heard_ms": now_ms,
            "actions": 0,
            "fen": 0,
            "beyond": int(late),
        },
    )


def certificate(conn: Connection, signer: Signer, device: int, *, now_ms: int) -> dict[str, Json]:
    """Return what a device may do until its next contact, signed: `{"body": {...}, "signature": hex}`."""
    settings = read_settings(conn)
    body: dict[str, Any] = {
        "device": device,
        "given_ms": now_ms,
        "lasts_ms": settings.offline_days * DAY_MS,
        "actions": settings.offline_actions,
        "fen": settings.offline_fen,
    }
    return {"body": body, "signature": signer.sign(b"nahuo certificate " + canonical_json(body)).hex()}


def is_beyond(b: Batch, fact: PlacedFact, *, received_ms: int) -> bool:
    """Count a fact of a device that came back; True when it waits for a supervisor."""
    absence = b.row(s.absence, fact.writer)
    if absence is None or received_ms < absence.back_ms:
        return False
    if absence.beyond:
        return True
    if received_ms > absence.heard_ms + QUIET_MS:
        return False
    actions = absence.actions + (fact.index == 0)
    fen = absence.fen + (int(fact.body["price_fen"]) if fact.kind == kinds.PieceBought.KIND else 0)
    beyond = _is_over(b.settings, actions, fen)
    heard_ms = max(absence.heard_ms, received_ms)
    b.set(s.absence, fact.writer, actions=actions, fen=fen, heard_ms=heard_ms, beyond=int(beyond))
    return beyond


def carry_over(b: Batch, old: int, new: int) -> None:
    """A device that takes another number brings its absence with it: what it says again waits as it would have under the old one."""
    absence = b.row(s.absence, old)
    if absence is not None and (absence.beyond or b.now_ms <= absence.heard_ms + QUIET_MS):
        b.put(s.absence, ("device",), **{**absence._mapping, "device": new, "back_ms": b.now_ms, "heard_ms": b.now_ms})


def end_review(b: Batch, device: int) -> None:
    """A supervisor has looked: what the device says from now on counts at once."""
    b.set(s.absence, device, beyond=0, heard_ms=0)


def _is_over(settings: Settings, actions: int, fen: int) -> bool:
    return actions > settings.offline_actions or fen > settings.offline_fen


def _heard_ms(known: Any) -> int:
    return int(known.seen_ms if known.seen_ms is not None else known.enrolled_ms)
