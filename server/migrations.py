"""From one schema of the server's database to the next: plain statements, all steps of one start in one transaction.

A kill at any statement leaves the file as it was, and the next start begins again. New tables need no step: they are made from
`server.schema` in the same transaction. Statements here must run on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from server import schema as s

MIGRATIONS: Final[dict[int, tuple[str, ...]]] = {
    4: ("ALTER TABLE piece ADD COLUMN warehouse TEXT NOT NULL DEFAULT ''",),
    # A server put back from a backup took its tasks back and left their orders waiting for dispatch.
    5: (
        "UPDATE shop_order SET status = 'out' WHERE status = 'ready' AND id IN ("
        "SELECT wanted.order_id FROM wanted JOIN task ON task.id = wanted.task "
        "WHERE task.source = 'stall' AND wanted.status NOT IN ('ready', 'waiting', 'closing', 'closed'))",
    ),
}
"""{version: the statements that make it of the one before}."""


def migrate(conn: Connection, version: int) -> None:
    """Bring a database of `version` (1 or later) to `schema.SCHEMA_VERSION`, inside the caller's transaction."""
    for step in range(version + 1, s.SCHEMA_VERSION + 1):
        for statement in MIGRATIONS.get(step, ()):
            conn.exec_driver_sql(statement)
    s.metadata.create_all(conn)
