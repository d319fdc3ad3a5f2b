"""`nahuo verify DIR`: recount a server's or a client's folder from its logs and say what does not follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nahuo.data_folder import check_whole, look_at, read_only
from nahuo.recount import recount_client
from sync_core.check import FAULTS_SHOWN_MAX, Check
from sync_core.errors import IncompatibleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a recount found: the checks, and {document: canonical hash} to compare replicas by."""

    path: Path
    kind: str
    checks: list[Check]
    hashes: dict[str, str]

    @property
    def holds(self) -> bool:
        """True when every check holds."""
        return all(check.holds for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The verdict as `--json` prints it."""
        return {
            "folder": self.path.name, "kind": self.kind, "ok": self.holds,
            "checks": [check.as_json() for check in self.checks], "documents": self.hashes,
        }  # fmt: skip


def verify_folder(path: Path) -> Verdict:
    """Recount `path`.

    Raises:
        RefusedError: it is none of our folders.
        CorruptError: its database cannot be read at all.
        IncompatibleError: another version wrote it; nothing was changed.
    """
    from trade.projections import MARKET_DAY

    folder = look_at(path)
    if folder.kind == "server":
        return _verify_server(path, folder.database)
    recount = recount_client(folder.database, MARKET_DAY)
    return Verdict(path=path, kind=folder.kind, checks=recount.checks, hashes=recount.hashes)


def _verify_server(path: Path, database: Path) -> Verdict:
    from server.recount import recount_store
    from server.schema import SCHEMA_VERSION
    from server.store import disk_told_plainly, open_store
    from trade.projections import MARKET_DAY

    with read_only(database) as conn:
        whole = check_whole(conn)
        if not whole.holds:
            return Verdict(path=path, kind="server", checks=[whole], hashes={})
        (version,) = conn.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone() or (0,)
    if int(version) < SCHEMA_VERSION:
        raise IncompatibleError(
            "an older program wrote this database: the server's next start brings it to this version, then verify it"
        )
    # The database alone is opened, not the installation: looking at a restored copy must not give it a new number.
    with disk_told_plainly():
        store = open_store(database)
        try:
            checks, hashes = recount_store(store, MARKET_DAY)
        finally:
            store.close()
    return Verdict(path=path, kind="server", checks=[whole, *checks], hashes=hashes)


def show_verdict(verdict: Verdict) -> str:
    """Return the verdict as a table, faults below their check."""
    out = [f"{verdict.kind} {verdict.path}"]
    for check in verdict.checks:
        mark = "ok   " if check.holds else "FAULT"
        out.append(f"  {mark} {check.name:<24} {check.checked:>8}  {check.what}")
        out += [f"          {fault}" for fault in check.faults[:FAULTS_SHOWN_MAX]]
        if len(check.faults) > FAULTS_SHOWN_MAX:
            out.append(f"          … and {len(check.faults) - FAULTS_SHOWN_MAX} more")
    broken = [check.name for check in verdict.checks if not check.holds]
    out.append(f"  {len(verdict.checks)} checks, " + (f"broken: {', '.join(broken)}" if broken else "all hold"))
    return "\n".join(out)
