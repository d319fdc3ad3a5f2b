"""What a day came to: counted again from logs and papers after everybody went home, and held against the invariants I1-I15."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from nahuo.demo.day import Tally
from nahuo.demo.eyes import PHONES
from nahuo.demo.scene import Scene
from nahuo.recount import Recount, recount_client
from printer.virtual.server import LabelFolder
from server import schema as s
from server import schema_trade as st
from server.installation import Server, open_server
from server.recount import recount_server
from sync_core.check import Check
from sync_core.gate import digest_of
from trade.ids import bare_id
from trade.projections import MARKET_DAY

INVARIANTS = tuple(f"I{n}" for n in range(1, 16))
MAY_BE_UNREACHED = frozenset({"I7"})


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The day's figures, and each invariant with the number of things it was checked on."""

    figures: dict[str, Any]
    checks: dict[str, Check]
    hashes: dict[str, list[str]]
    seconds: float = 0
    other: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when all that was checked holds, and all that must be reached was."""
        return not self.broken

    @property
    def broken(self) -> list[str]:
        """The names of what does not hold."""
        named = [name for name, check in self.checks.items() if not check.holds]
        named += [name for name, check in self.checks.items() if not check.checked and name not in MAY_BE_UNREACHED]
        return [*named, *(check.name for check in self.other if not check.holds)]

    def as_json(self) -> dict[str, Any]:
        """What `--json` writes."""
        return {
            "ok": self.ok,
            **self.figures,
            "seconds": round(self.seconds, 1),
            "invariants": {
                name: {"holds": check.holds if check.checked else None, "checked": check.checked}
                for name, check in self.checks.items()
            },
            "faults": {c.name: c.faults[:20] for c in (*self.checks.values(), *self.other) if c.faults},
            "convergence_hashes": self.hashes,
        }

    def table(self) -> str:
        """The outcome for a person."""
        lines = [f"  {name:<32}{value}" for name, value in self.figures.items()]
        lines.append("")
        for name, check in self.checks.items():
            word = "true" if check.holds and check.checked else "not reached" if check.holds else "FALSE"
            lines.append(f"  {name:<5}{word:<12}{check.checked:>8}  {check.what}")
            lines += [f"          {fault}" for fault in check.faults[:5]]
        for check in self.other:
            lines.append(f"  {check.name:<24}{'true' if check.holds else 'FALSE':<12}{check.checked:>6}  {check.what}")
            lines += [f"          {fault}" for fault in check.faults[:5]]
        return "\n".join(lines)


def count_day(scene: Scene, tally: Tally, *, seed: int) -> Outcome:
    """Recount the folders of a scene whose curtain has fallen: the devices' beside the server's."""
    server = open_server(scene.folder / "server", now_ms=time.time_ns() // 1_000_000)
    beside = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
    try:
        counting = {key: beside.submit(_recount_replica, scene.folder / key / "replica.db") for key in scene.devices}
        found, server_hashes = recount_server(server, MARKET_DAY)
        checks = {check.name: check for check in found if check.name in INVARIANTS}
        other = [check for check in found if check.name not in INVARIANTS]
        clients = {key: counted.result() for key, counted in counting.items()}
        checks["I9"] = _add_delivered(checks["I9"], server, scene)
        hashes, checks["I15"] = _compare(server_hashes, {key: client.hashes for key, client in clients.items()})
        for key, client in clients.items():
            for check in client.checks:
                check.name = f"{key}: {check.name}"
                other.append(check)
        figures = _figures(server, scene, tally, seed)
        other.append(_papers(server, scene, figures, tally))
    finally:
        beside.shutdown(cancel_futures=True)
        server.store.close()
    return Outcome(figures=figures, checks={name: checks[name] for name in INVARIANTS}, hashes=hashes, other=other)


def _recount_replica(database: Path) -> Recount:
    return recount_client(database, MARKET_DAY)


def _add_delivered(check: Check, server: Server, scene: Scene) -> Check:
    """Every envelope a device said is in the server's log, byte for byte, or in quarantine."""
    with server.store.reading() as conn:
        held = {bytes(row.digest) for row in conn.execute(select(s.envelope.c.digest))}
        refused = {bytes(row.stored) for row in conn.execute(select(s.quarantine.c.stored))}
    for key in scene.devices:
        with closing(sqlite3.connect(scene.folder / key / "replica.db")) as replica:
            own = "SELECT document, seq, stored FROM envelope WHERE device = (SELECT value + 0 FROM setting WHERE name = 'number')"
            for document, seq, stored in replica.execute(own):
                check.expect(
                    digest_of(stored) in held or stored in refused, f"{key}: {document} seq {seq} never arrived"
                )
    return check


def _compare(server: dict[str, str], clients: dict[str, dict[str, str]]) -> tuple[dict[str, list[str]], Check]:
    check = Check(name="I15", what="a replica that has seen all of a document equals the server's fold of it")
    hashes: dict[str, list[str]] = {}
    for document in sorted({name for held in clients.values() for name in held}):
        hashes[document] = [server.get(document, "missing")]
        for key, held in clients.items():
            if document in held:
                hashes[document].append(held[document])
                check.expect(held[document] == server.get(document), f"{key}: {document} differs from the server")
    return hashes, check


def _figures(server: Server, scene: Scene, tally: Tally, seed: int) -> dict[str, Any]:
    with server.store.reading() as conn:
        outcomes: dict[str, int] = {}
        for row in conn.execute(select(s.fact.c.kind, s.fact.c.body).where(s.fact.c.kind == "verdict.purchase")):
            outcome = str(json.loads(row.body)["outcome"])
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

        def said(kind: str) -> int:
            return int(
                conn.execute(select(func.count(func.distinct(s.fact.c.id))).where(s.fact.c.kind == kind)).scalar() or 0
            )

        pieces = int(conn.execute(select(func.count()).select_from(st.piece)).scalar() or 0)
        parcels = int(
            conn.execute(
                select(func.count()).select_from(st.parcel).where(st.parcel.c.shipped_ms.is_not(None))
            ).scalar()
            or 0
        )
        still_open = select(func.count()).select_from(st.discrepancy).where(st.discrepancy.c.resolved_ms.is_(None))
        discrepancies = int(conn.execute(still_open).scalar() or 0)
        total = int(conn.execute(select(func.coalesce(func.sum(s.posting.c.amount_fen), 0))).scalar() or 0)
        seconds = _per_piece(conn, "second")
        unseen = _per_piece(conn, "closed_unseen")
        counts = {kind: said(kind) for kind in ("task.bounced", "task.answered", "piece.refunded")}
    return {
        "seed": seed,
        "orders": tally.orders,
        "pieces": pieces,
        "labels": len(_printed_jobs(scene)),
        "labels_printed_offline": tally.labels_printed_offline,
        "parcels": parcels,
        "parcels_shipped_server_down": tally.parcels_shipped_server_down,
        "returns_refunded": counts["piece.refunded"],
        "bounces": counts["task.bounced"],
        "stock_outs": counts["task.answered"],
        "closes_unseen": unseen,
        "double_purchases": seconds,
        "discrepancies_open": discrepancies,
        "kills": sum(actor.kills for actor in scene.actors),
        "processes": len(scene.actors),
        "ledger_fen_sum": total,
        "codes_read_back": len(_codes_on_paper(scene)),
    }


def _per_piece(conn: Any, outcome: str) -> int:
    pieces = set()
    for row in conn.execute(select(s.fact.c.subjects, s.fact.c.body).where(s.fact.c.kind == "verdict.purchase")):
        if json.loads(row.body)["outcome"] == outcome:
            pieces.add(bare_id(json.loads(row.subjects)[1]))
    return len(pieces)


def _printed_jobs(scene: Scene) -> set[str]:
    """Piece codes whose label the phones' spools know as printed."""
    codes: set[str] = set()
    for key in PHONES:
        with closing(sqlite3.connect(scene.folder / key / "replica.db")) as conn:
            codes |= {row[0] for row in conn.execute("SELECT code FROM print_job WHERE state IN ('sent', 'printed')")}
    return codes


def _codes_on_paper(scene: Scene) -> set[str]:
    """Piece codes parsed from what the phones' virtual printers were sent."""
    return {str(code) for key in PHONES for record in _papers_of(scene, key, "label") for code in record["codes"]}


def _papers_of(scene: Scene, key: str, printer: str) -> list[dict[str, Any]]:
    return [dict(record) for record in LabelFolder(scene.printer_folder(key, printer), lambda: 0).read()]


def _papers(server: Server, scene: Scene, figures: dict[str, Any], tally: Tally) -> Check:
    """The paper world against the books: each printed code is a piece of ours, each parcel that left is shipped there."""
    check = Check(
        name="papers", what="every label on paper is a known piece, every parcel that left is shipped in the books"
    )
    with server.store.reading() as conn:
        known = {row.code for row in conn.execute(select(st.piece.c.code))}
        shipped = {row.waybill_no for row in conn.execute(select(st.parcel).where(st.parcel.c.shipped_ms.is_not(None)))}
        purchases = {
            bare_id(json.loads(row.subjects)[1])
            for row in conn.execute(select(s.fact.c.subjects).where(s.fact.c.kind == "piece.bought"))
        }
    for code in sorted(_codes_on_paper(scene)):
        check.expect(code in known or code in purchases, f"label {code} is nobody's")
    for number in tally.shipped:
        check.expect(number in shipped, f"waybill {number} left, the books do not know")
    printed = [code for record in _papers_of(scene, "terminal", "waybill") for code in record["codes"]]
    for number in sorted(set(printed)):
        check.expect(
            printed.count(number) == 1 or number not in tally.shipped,
            f"waybill {number} came out {printed.count(number)} times",
        )
    check.expect(
        figures["codes_read_back"] == figures["labels"],
        f"{figures['codes_read_back']} codes on paper, {figures['labels']} labels printed",
    )
    return check


def write_json(outcome: Outcome, path: Path) -> None:
    """Write the outcome."""
    path.write_text(json.dumps(outcome.as_json(), ensure_ascii=False, indent=1) + "\n")
