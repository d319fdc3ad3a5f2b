"""All promises at rest: outboxes are empty, replicas equal the server, and a recount of every log gives the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from sqlalchemy import select

from nahuo.sim.checks.carried import check_carried
from nahuo.sim.checks.desk import check_desk
from nahuo.sim.checks.money import check_money
from nahuo.sim.checks.papers import check_papers
from nahuo.sim.checks.pieces import check_pieces
from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.scene import Scene
from nahuo.sim.world import Broken
from server import schema as s
from server.ledger_reading import recount
from server.recount import recount_server
from sync_core.check import Check
from trade.projections import MARKET_DAY


def check_at_rest(scene: Scene) -> None:
    """Raise when anything is not as it must be after the calm."""
    scene.checks.look()
    _check_outboxes(scene)
    checks, hashes = recount_server(scene.server.server, MARKET_DAY)
    for document, digest in sorted(hashes.items()):
        scene.world.note(f"{document} {digest}")
    _check_replicas(scene, hashes)
    _check_recount(scene, checks)
    check_carried(scene)
    check_pieces(scene)
    check_papers(scene)
    check_money(scene)
    check_desk(scene)


def _check_outboxes(scene: Scene) -> None:
    if scene.server.down:
        raise Broken("REL-I8: the server is down after two quiet hours")
    for device in scene.devices:
        if device.dead:
            raise Broken(f"REL-I8: {device.name} is off after two quiet hours")
        device.check_done()
        waiting = device.replica.waiting()
        if waiting.actions:
            raise Broken(f"REL-I8: {device.name} still owes {waiting.actions} actions after two quiet hours")
        for number, code, detail in device.replica.conn.execute("SELECT device, code, detail FROM refusal"):
            # An old copy's words were refused under its old number, and said again under its next.
            if not (_may_fork(scene, number, code) and number != device.replica.number):
                raise Broken(f"REL-I4: work of {device.name} was refused: {code}: {detail}")
        for document in device.replica.documents():
            device.sync.check_acknowledged(document)
    with scene.server.store.reading() as conn:
        q = s.quarantine.c
        honest = q.sent_by.not_in(sorted(scene.server.hostile))
        quarantined = conn.execute(select(q.sent_by, q.code, q.detail).where(honest)).all()
    for row in quarantined:
        if not _may_fork(scene, row.sent_by, row.code):
            raise Broken(f"I9: honest work lies in quarantine: {row.code}: {row.detail}")


def _may_fork(scene: Scene, number: int, code: str) -> bool:
    """A device that was put back and acted before it knew: of two histories the second lies in quarantine (REL-R6)."""
    return code == "gate.fork" and number in scene.server.put_back


def _check_replicas(scene: Scene, hashes: Mapping[str, str]) -> None:
    """I15: a replica that has seen all envelopes of a document equals the server's fold of it."""
    for device in scene.devices:
        known = scene.server.store.key_of(device.node.number)
        if known is None or known.revoked:
            # It may deliver what it holds and is sent nothing.
            continue
        named = set(device.node.wanted_documents())
        for document in sorted(named):
            theirs = scene.server.store.read_vector(document)
            mine = device.replica.state_vector(document)
            if mine != theirs:
                raise Broken(f"I15: {device.name} has {mine} of {document}, the server {theirs}")
            same = not theirs or device.replica.canonical_hash(document) == hashes.get(document)
            if not same and not _a_forger_said_two_things(scene, device, document):
                raise Broken(
                    f"I15: {device.name} folds {document} otherwise than the server{_first_difference(scene, device, document)}"
                )


def _a_forger_said_two_things(scene: Scene, device: DeviceNode, document: str) -> bool:
    """After a restore a hostile device may say another thing under a number that replicas know already: each keeps what it heard."""
    for number in sorted(scene.server.hostile):
        rows = device.replica.conn.execute(
            "SELECT stored FROM envelope WHERE document = ? AND device = ? ORDER BY seq", (document, number)
        ).fetchall()
        if [bytes(row[0]) for row in rows] != scene.server.store.stored(document, number, 1, len(rows)):
            return True
    return False


def _first_difference(scene: Scene, device: DeviceNode, document: str) -> str:
    replica = device.replica
    with scene.server.store.reading() as conn:
        rows = conn.execute(select(s.state.c.subject, s.state.c.state).where(s.state.c.document == document)).all()
    server = {row.subject: json.loads(row.state) for row in rows}
    for subject, text in replica.conn.execute(
        "SELECT subject, state FROM state WHERE document = ? ORDER BY subject", (document,)
    ):
        if subject != "document" and server.get(subject) != json.loads(text):
            return f": {subject}"
    return ""


def _check_recount(scene: Scene, checks: Iterable[Check]) -> None:
    """Recount everything from the logs: log, rows, money, trade."""
    for check in checks:
        if not check.holds:
            raise Broken(f"recount {check.name}: {check.faults[0]}")
    with scene.server.store.reading() as conn:
        faults = recount(conn)
    if faults.faults:
        raise Broken(f"recount of the ledger: {faults.faults[0]}")
