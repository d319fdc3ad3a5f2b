"""How long this device has been without its server, and what it did meanwhile (REL-R10): said, never in the way of work.

Each token brings a certificate: how long it lasts from its receipt, and what may be done until the next contact. Time is counted as
deadlines are (D13). What was done since the last contact is what the server has not acknowledged. Past the end or the quota everything
goes on; the bar and the list of what waits say that a supervisor looks at it first. The server judges by itself (server/contact.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clients.runtime.ports import Clock
from sync_core import gate
from sync_core.facts import Json
from sync_core.identity import Verifier
from sync_core.payload import canonical_json, decode_payload
from sync_core.replica import Replica
from trade.kinds import PieceBought

CERTIFICATE_NOW: Final = "certificate_now"
RENEW_MS: Final = 3_600_000
"""A link that stays up is contact: the receipt is renewed so often."""
SOON_MS: Final = 24 * 3_600_000
SOON_PERCENT: Final = 80


def passed_ms(clock: Clock, *, boot: str, steady_ms: int, wall_ms: int) -> int:
    """Return how long ago a moment was: by the steady clock, by the wall clock only across a reboot (D13)."""
    return clock.steady_ms() - steady_ms if boot == clock.boot() else max(0, clock.wall_ms() - wall_ms)


class Contact:
    """The certificate as this device received it last, and what was done since."""

    def __init__(self, replica: Replica, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self._bought_fen: dict[int, int] = {}
        """{place in the log: fen bought} of own actions that were read and are not acknowledged."""

    def take(self, answer: Json) -> None:
        """Keep a certificate that the server's key signed for this device; anything else changes nothing."""
        body = answer.get("body") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(body, dict):
            return
        numbers = {name: body.get(name) for name in ("lasts_ms", "actions", "fen")}
        if body.get("device") != self._replica.number or any(type(value) is not int for value in numbers.values()):
            return
        try:
            signature = bytes.fromhex(str(answer.get("signature")))
        except ValueError:
            return
        signed = b"nahuo certificate " + canonical_json(dict(body))
        if Verifier(bytes.fromhex(self._replica.setting("server_key", "")))(signature, signed):
            self._keep(numbers)

    def look(self, *, live: bool) -> None:
        """Renew the receipt while the link is up, and count what was bought since."""
        self._count()
        kept = self._replica.setting(CERTIFICATE_NOW)
        if live and kept is not None and self._passed_ms(kept) >= RENEW_MS:
            self._keep(kept)

    def word(self, *, live: bool, actions: int) -> str:
        """Return what to say of it: "", "soon", "quota_soon", "ended" or "quota"."""
        kept = self._replica.setting(CERTIFICATE_NOW)
        if kept is None or live:
            return ""
        left_ms = kept["lasts_ms"] - self._passed_ms(kept)
        used = [(actions, kept["actions"]), (sum(self._bought_fen.values()), kept["fen"])]
        if left_ms <= 0:
            return "ended"
        if any(done > most for done, most in used):
            return "quota"
        if left_ms < SOON_MS:
            return "soon"
        return "quota_soon" if any(done * 100 >= most * SOON_PERCENT for done, most in used) else ""

    def _passed_ms(self, kept: Mapping[str, Any]) -> int:
        return passed_ms(self._clock, boot=kept["boot"], steady_ms=kept["steady_ms"], wall_ms=kept["wall_ms"])

    def _keep(self, numbers: Mapping[str, Any]) -> None:
        marks = {
            "boot": self._clock.boot(),
            "steady_ms": self._clock.steady_ms(),
            "wall_ms": self._clock.wall_ms(),
        }
        with self._replica.transaction():
            self._replica.set_setting(CERTIFICATE_NOW, {**numbers, **marks})

    def _count(self) -> None:
        conn, number = self._replica.conn, self._replica.number
        waits = {
            int(n)
            for (n,) in conn.execute(
                "SELECT e.n FROM envelope e JOIN writer w USING (document, device) WHERE e.device = ? AND e.seq > w.acked",
                (number,),
            )
        }
        fresh = sorted(waits - self._bought_fen.keys())
        self._bought_fen = {n: fen for n, fen in self._bought_fen.items() if n in waits}
        for n in fresh:
            (stored,) = conn.execute("SELECT stored FROM envelope WHERE n = ?", (n,)).fetchone()
            facts = decode_payload(stored[gate.HEADER_BYTES :]).facts
            self._bought_fen[n] = sum(int(f.body["price_fen"]) for f in facts if f.kind == PieceBought.KIND)
