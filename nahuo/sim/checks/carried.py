"""What one document knows of a subject, the others that need it know too: the carry table, held against the log.

A terminal sorts by the warehouse's document, never by a picker's route: a purchase that stays in the route leaves its bag unexplained.
Both ends of a session agree on a document that lacks it, so comparing replicas with the server cannot see that.
"""

from __future__ import annotations

from typing import Final

from nahuo.sim.scene import Scene
from nahuo.sim.world import Broken
from trade.carry import carry_targets, document_kind


def check_carried(scene: Scene) -> None:
    """Every fact that was decided stands, under its own id, in each document that needed it and spoke of its subject before; and what was
    decided about a purchase was said: rows alone reach nobody."""
    with scene.server.store.reading() as conn:
        missing = conn.exec_driver_sql(_NOT_IN_THE_OTHER).all()
        unsaid = conn.exec_driver_sql(_NOT_SAID).first()
    if unsaid is not None:
        raise Broken(f"I15: the verdict about {unsaid[0]} of {unsaid[1]} stands in the rows and was never said")
    for row in missing:
        if document_kind(row.other) in carry_targets(row.kind):
            raise Broken(f"carry: {row.kind} {row.id} of {row.document} never came to {row.other}")


_NOT_SAID: Final = """
SELECT v.fact, v.document FROM verdict v WHERE v.rule = 'verdict.purchase' AND NOT EXISTS (
 SELECT 1 FROM fact f WHERE f.kind = v.rule AND f.void IS NULL AND json_extract(f.body, '$.fact') = v.fact)
"""

# Ids are unique within a document only, so a copy is told by id, kind and subjects. A document that was closed when the fact was
# decided takes no copy; its successor (the same name with another number) does. One that spoke of the subject only later got its
# state with the assignment. A stall leads to the directory only: another task at it is another's, perhaps another organisation's; a bag
# scan to the trip that it names.
# What a device says again under its next number was carried when it was said first.
_NOT_IN_THE_OTHER: Final = """
SELECT DISTINCT f.id, f.kind, f.document, earlier.document AS other
FROM fact f
JOIN verdict v ON v.id = f.document || '|' || f.id || '|decide:' || f.kind
JOIN fact_subject mine ON mine.document = f.document AND mine.writer = f.writer AND mine.seq = f.seq AND mine.place = f.place
JOIN fact_subject theirs ON theirs.subject = mine.subject AND theirs.document <> f.document
 AND (mine.subject NOT LIKE 'stall:%' OR theirs.document LIKE 'market/%')
 AND (mine.subject LIKE 'trip:%' OR f.kind <> 'piece.bagged')
JOIN fact earlier ON earlier.document = theirs.document AND earlier.writer = theirs.writer
 AND earlier.seq = theirs.seq AND earlier.place = theirs.place AND earlier.n < f.n
JOIN document d ON d.name = earlier.document AND (d.closed_ms IS NULL OR d.closed_ms > v.decided_ms)
WHERE f.carried = 0 AND f.void IS NULL AND NOT EXISTS (
 SELECT 1 FROM fact said WHERE said.document = f.document AND said.id = f.id AND said.kind = f.kind AND said.subjects = f.subjects
  AND said.n < f.n)
 AND NOT EXISTS (
 SELECT 1 FROM fact copy
 WHERE (copy.document = earlier.document OR (earlier.document NOT LIKE 'route/%'
   AND rtrim(copy.document, '0123456789') = rtrim(earlier.document, '0123456789')))
 AND copy.id = f.id AND copy.kind = f.kind AND copy.subjects = f.subjects)
"""
