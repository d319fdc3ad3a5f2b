"""Money at rest: holds end, nobody pays for nothing, and the cash in each pocket is what the ledger says (I13, D9, REL-I2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.scene import Scene
from nahuo.sim.world import Broken


def check_money(scene: Scene) -> None:
    """Holds end (I13); a picker's float is what his phone says he paid (REL-I2)."""
    with scene.server.store.reading() as conn:
        left = conn.exec_driver_sql(
            "SELECT h.order_id, h.subject, h.part, h.held_fen - h.captured_fen - h.released_fen FROM hold h"
            " JOIN shop_order o ON o.id = h.order_id WHERE o.status = 'closed'"
            " AND h.held_fen - h.captured_fen - h.released_fen > 0 AND NOT EXISTS"
            " (SELECT 1 FROM task t WHERE t.order_id = h.order_id AND t.status = 'recalled')"
        ).first()
        if left is not None:
            raise Broken(f"I13: the closed order {left[0]} still holds {left[3]} fen for {left[1]} {left[2]}")
        kept = conn.exec_driver_sql(
            "SELECT h.order_id, h.subject, h.part, h.held_fen - h.captured_fen - h.released_fen FROM hold h"
            " JOIN shop_order o ON o.id = h.order_id WHERE o.status = 'shipped'"
            # What shipped before its phone spoke keeps its money until the price is known; a parked purchase never tells it.
            " AND NOT EXISTS (SELECT 1 FROM piece p WHERE p.order_id = h.order_id AND p.outcome = 'unexplained')"
            # A closed piece of it whose purchase was taken back may be bought again until its phone knows of the close.
            " AND NOT EXISTS (SELECT 1 FROM task t WHERE t.order_id = h.order_id AND t.status = 'recalled')"
            " AND h.held_fen - h.captured_fen - h.released_fen > 0"
        ).first()
        if kept is not None:
            raise Broken(f"R82: the shipped order {kept[0]} still holds {kept[3]} fen for {kept[1]} {kept[2]}")
        second = conn.exec_driver_sql(
            # "Second" is said of the want it was bought for; a swap may have given it another since (E11).
            "SELECT p.code FROM piece p JOIN fact f ON f.id = p.bought_fact AND f.carried = 0"
            " AND f.kind IN ('piece.bought', 'piece.adopted') AND f.subjects LIKE '%\"piece:' || p.code || '\"%'"
            " JOIN json_each(f.subjects) said JOIN task t ON 'task:' || t.id = said.value JOIN wanted w ON w.id = t.wanted"
            " JOIN device d ON d.number = p.device"
            " WHERE p.outcome = 'second' AND d.written_off_ms IS NULL AND (w.keeper IS NULL OR w.keeper = p.code)"
            " AND NOT EXISTS (SELECT 1 FROM piece q WHERE q.wanted = w.id AND q.code <> p.code)"
            # Of a copied phone the copy has the task: what the original buys after its word is the platform's (D9).
            " AND NOT EXISTS (SELECT 1 FROM fact r WHERE r.subjects LIKE '%\"task:' || t.id || '\"%' AND r.writer = t.device"
            " AND r.kind IN ('task.recall_seen', 'task.answered', 'task.bounced') AND t.device <> p.device AND r.n < f.n)"
        ).first()
        if second is not None:
            raise Broken(f"D9: {second[0]} counts as a second piece, and there is no first")
        free = conn.exec_driver_sql(
            "SELECT p.code, p.price_fen FROM piece p JOIN task t ON t.id = p.task JOIN shop_order o ON o.id = p.order_id"
            " WHERE p.outcome = 'closed_unseen' AND o.drop_ship = 1 AND p.price_fen <= t.cap_fen AND p.charged_fen = 0"
            # What a bounce had given back and a short wallet could not freeze again the platform bears, by name (decision 13).
            " AND NOT EXISTS (SELECT 1 FROM discrepancy d WHERE d.code = 'wallet_short' AND d.subject = 'piece:' || p.code)"
        ).first()
        if free is not None:
            raise Broken(
                f"D9: {free[0]} was bought for {free[1]} fen before its phone could know of the close, and nobody paid"
            )
        floats: dict[str, int] = {
            row[0]: row[1]
            for row in conn.exec_driver_sql("SELECT name, balance_fen FROM account WHERE name LIKE 'float:%'")
        }
    for family in sorted({picker.phone.family for picker in scene.pickers}):
        _check_pocket(scene, [picker.phone for picker in scene.pickers if picker.phone.family == family], floats)
    for runner in scene.runners:
        got_fen = sum(runner.received_fen.values())
        stands_fen = sum(floats.get(f"float:{person}", 0) for person in _people(runner.phone))
        if stands_fen != got_fen:
            raise Broken(f"REL-I2: {runner.phone.name} got {got_fen} fen back in cash, the ledger says {stands_fen}")


def _check_pocket(scene: Scene, phones: Sequence[DeviceNode], floats: Mapping[str, int]) -> None:
    """What the people of a phone paid in cash is what left their floats; cash is the world's, corrections are the phone's word."""
    if any(is_stopped(scene, phone) for phone in phones):
        # What it delivers waits for a supervisor (parked).
        return
    names = {phone.name for phone in phones}
    paid_fen = 0
    for garment in scene.physical.garments:
        if garment.device in names and not garment.gone:
            states = [phone.piece_state(garment.code) for phone in phones]
            said = next((int(state["price_fen"]) for state in states if state is not None and state["price_fen"]), None)
            if said is None and scene.server.lives and _is_orphan(scene, garment.code):
                # Phone and server were both put back to before it: its label tells of it, and a supervisor is named (E29).
                scene.world.sometimes("purchase_lost_by_both")
                continue
            paid_fen += garment.price_fen if said is None else said
    stands_fen = -sum(floats.get(f"float:{person}", 0) for person in _people(phones[0]))
    if stands_fen != paid_fen:
        raise Broken(f"REL-I2: {phones[0].family} paid {paid_fen} fen in cash, the ledger says {stands_fen}")


def _is_orphan(scene: Scene, code: str) -> bool:
    with scene.server.store.reading() as conn:
        found = conn.exec_driver_sql("SELECT 1 FROM piece WHERE code = ? AND outcome = 'unexplained'", (code,)).first()
    return found is not None


def _people(phone: DeviceNode) -> tuple[str, str]:
    return f"p-{phone.family}", f"q-{phone.family}"


def is_stopped(scene: Scene, device: DeviceNode) -> bool:
    """True when the server takes nothing of this device at its word any more."""
    known = [scene.server.store.key_of(number) for number in {*device.numbers, device.node.number} - device.given_up]
    return any(record is None or record.revoked for record in known)
