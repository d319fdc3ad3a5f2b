"""The system's pieces are the world's garments: each once, each where it lies (I1, I12, REL-I1, REL-I7)."""

from __future__ import annotations

from sqlalchemy import func, select

from nahuo.sim.checks.money import is_stopped
from nahuo.sim.people.physical import Garment
from nahuo.sim.scene import Scene
from nahuo.sim.world import Broken
from server import schema as s
from server import schema_trade as st


def check_pieces(scene: Scene) -> None:
    """The system's pieces are the world's garments: each once, each where it lies (I1, I12, REL-I1, REL-I7)."""
    _check_codes(scene)
    papers: dict[str, str] = {}
    for device in scene.devices:
        for paper in device.papers:
            # A terminal prints return labels of pieces that a phone minted; two phones never mint one code.
            if paper.printer == "label" and paper.whole and device.role == "picker":
                first = papers.setdefault(paper.subject, device.family)
                if first != device.family:
                    raise Broken(f"REL-I7: the code {paper.subject} came out of {first} and {device.family}")
    with scene.server.store.reading() as conn:
        rows = conn.execute(select(st.piece.c.code, st.piece.c.place, st.piece.c.price_fen, st.piece.c.device)).all()
        left = conn.exec_driver_sql(
            "SELECT o.id, w.id, w.status FROM shop_order o JOIN wanted w ON w.order_id = o.id JOIN shop h ON h.name = o.shop"
            " WHERE o.status = 'shipped' AND h.ship_part = 0 AND w.status NOT IN ('shipped', 'closed', 'closing')"
        ).first()
        bought = conn.execute(
            select(s.fact.c.subjects, func.count(s.fact.c.id.distinct())).where(
                s.fact.c.kind == "piece.bought", s.fact.c.carried == 0, s.fact.c.void.is_(None)
            ).group_by(s.fact.c.subjects)
        ).all()  # fmt: skip
        shipped = conn.execute(
            select(s.fact.c.subjects, s.fact.c.device, func.count(s.fact.c.id.distinct())).where(
                s.fact.c.kind == "parcel.shipped", s.fact.c.carried == 0, s.fact.c.void.is_(None)
            ).group_by(s.fact.c.subjects, s.fact.c.device)
        ).all()  # fmt: skip
    if left is not None:
        raise Broken(f"I3: {left[0]} has shipped without {left[1]}, which is {left[2]}")
    for subjects, count in bought:
        if count != 1:
            raise Broken(f"REL-I3: {subjects} was bought {count} times")
    for subjects, device, count in shipped:
        if count != 1:
            raise Broken(f"REL-I3: {subjects} was shipped {count} times by {device}")
    pieces = {row.code: row for row in rows}
    # What a stopped device delivered waits for a supervisor: its pieces are known from their labels only (E31).
    stopped = {device.name for device in scene.devices if is_stopped(scene, device)}
    families = {device.family for device in scene.devices if device.name in stopped}
    for code in sorted(papers):
        if code not in pieces and papers[code] not in families:
            raise Broken(f"REL-I7: the label {code} is on paper and the server has never heard of it")
    for garment in scene.physical.garments:
        if garment.device in stopped:
            continue
        piece = pieces.get(garment.code)
        if piece is None:
            raise Broken(f"REL-I1: the garment {garment.code} was paid for and the server has never heard of it")
        if garment.gone:
            if piece.place != "undone":
                raise Broken(f"REL-I1: {garment.code} was undone, the server has it at {piece.place}")
        elif garment.code not in papers:
            raise Broken(f"REL-I4: {garment.code} was paid for, and its label never came out of {garment.device}")
        elif piece.place not in _PLACES[garment.place]:
            raise Broken(f"REL-I1: {garment.code} lies at {garment.place}, the server has it at {piece.place}")
        _check_terminals(scene, garment)
    codes = {garment.code for garment in scene.physical.garments}
    for code in sorted(pieces):
        if code not in codes:
            raise Broken(f"REL-I1: the server knows a piece {code} that is nowhere")


def _check_terminals(scene: Scene, garment: Garment) -> None:
    """What a terminal shows of a piece is where it lies: an old word never moves what has left."""
    for packer in scene.packers:
        if garment.gone or is_stopped(scene, packer.terminal):
            continue
        state = packer.terminal.replica.state(f"piece:{garment.code}")
        if state is not None and state["place"] == "wanted" and "shipped" in _PLACES[garment.place]:
            continue  # Its own story was left behind; a task that it was promised to, in vain, still names it.
        if state is not None and state["place"] not in _PLACES[garment.place]:
            name = packer.terminal.name
            raise Broken(f"REL-I1: {garment.code} lies at {garment.place}, {name} shows it at {state['place']}")


def _check_codes(scene: Scene) -> None:
    """Two garments under one code are told of only where two phones were at work under one number."""
    if scene.world.seen["cloned_phone"] or scene.world.seen["restored_phone"]:
        return
    with scene.server.store.reading() as conn:
        twice = conn.exec_driver_sql("SELECT subject FROM discrepancy WHERE code = 'piece_code_twice'").first()
    if twice is not None:
        raise Broken(f"REL-I7: two garments are said to have the code of {twice[0]}, and no phone was ever copied")


_PLACES = {
    "bag": {"with_picker"},
    "door": {"with_picker", "inbound"},
    "house": {"inbound", "in_cell", "packed", "in_stock"},
    "shipped": {"shipped"},
    "buyer": {"shipped"},
    "desk": {"shipped", "return_in", "in_stock", "pending", "in_cell", "packed"},
    "runner": {"with_runner", "in_stock", "in_cell", "packed"},
    "stall": {"back_at_stall"},
    "merchant": {"handed_to_merchant"},
}
