"""Buyers' receivers on a terminal: keys fetched ahead into a table of their own, opened only to print a waybill (D17, D18).

The warehouse's document carries each receiver sealed under its parcel's key. Keys come by HTTP while there is a network, so that packing
needs none; a parcel whose key is not here yet parks with that reason. Keys of parcels that left a week ago are deleted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from clients.runtime.node import Node
from sync_core.errors import NahuoError, RefusedError
from trade.ids import bare_id

_log: Final = logging.getLogger(__name__)
PARCELS_AT_ONCE: Final = 200
RETRY_S: Final = 5.0
KEPT_MS: Final = 7 * 24 * 3_600_000


def prepare(conn: sqlite3.Connection) -> None:
    """Make the table of keys."""
    conn.execute(
        "CREATE TABLE IF NOT EXISTS parcel_key (parcel TEXT PRIMARY KEY, key BLOB NOT NULL, fetched_ms INTEGER NOT NULL)"
        " STRICT"
    )


def open_receiver(node: Node, parcel: str, waybill: Mapping[str, Any]) -> dict[str, str] | None:
    """Return {name, phone, address} of a parcel, None while its key is not here or does not fit."""
    row = node.replica.conn.execute("SELECT key FROM parcel_key WHERE parcel = ?", (parcel,)).fetchone()
    if row is None:
        return None
    value = node.unsealer.unseal(str(waybill["sealed"]), bytes(row[0]))
    if value is None:
        return None
    return {name: str(value.get(name, "")) for name in ("name", "phone", "address")}


def missing_keys(node: Node) -> list[str]:
    """Return the parcels that have a waybill and no key here, those not shipped yet."""
    return [
        bare_id(row[0])
        for row in node.replica.conn.execute(
            "SELECT DISTINCT subject FROM state WHERE kind = 'parcel' AND json_extract(state, '$.waybill') IS NOT NULL"
            " AND json_extract(state, '$.status') <> 'shipped'"
            " AND substr(subject, 8) NOT IN (SELECT parcel FROM parcel_key) ORDER BY subject LIMIT ?",
            (PARCELS_AT_ONCE,),
        )
    ]


async def fetch_keys(node: Node) -> int:
    """Fetch the keys that are missing; return how many came.

    Raises:
        NahuoError: the server cannot be reached or refuses this terminal.
    """
    parcels = missing_keys(node)
    if not parcels or node.replica.number is None:
        return 0
    keys = await node.door.parcel_keys(parcels)
    now_ms = node.clock.wall_ms()
    rows = [(parcel, bytes.fromhex(key), now_ms) for parcel, key in keys.items() if parcel in parcels]
    if rows:
        with node.replica.transaction() as conn:
            conn.executemany("INSERT OR REPLACE INTO parcel_key VALUES (?, ?, ?)", rows)
        node.changed()
    return len(rows)


async def keep_fetching(node: Node) -> None:
    """Fetch keys whenever parcels lack them and the signal is on; runs until cancelled."""
    last = -1
    while True:
        if node.link.enabled and node.link.state().status == "live" and node.version != last:
            last = node.version
            try:
                # What comes while keys are on their way raises the version again: it is looked at in the next round.
                await fetch_keys(node)
                forget_old(node)
            except RefusedError as error:
                _log.warning("no parcel keys: %s", error)
            except NahuoError:
                last = -1
        await asyncio.sleep(RETRY_S if last == -1 else 0.5)


def forget_old(node: Node) -> None:
    """Delete the keys of parcels that left long ago."""
    limit_ms = node.clock.wall_ms() - KEPT_MS
    old = [
        row[0] for row in node.replica.conn.execute("SELECT parcel FROM parcel_key WHERE fetched_ms < ?", (limit_ms,))
    ]
    gone = []
    for parcel in old:
        row = node.replica.conn.execute("SELECT state FROM state WHERE subject = ?", (f"parcel:{parcel}",)).fetchone()
        if row is None or json.loads(row[0])["shipped"]:
            gone.append((parcel,))
    if gone:
        with node.replica.transaction() as conn:
            conn.executemany("DELETE FROM parcel_key WHERE parcel = ?", gone)


def forget_keys(conn: sqlite3.Connection, document: str) -> None:
    """A document leaves: so do the keys of the parcels that no other document here speaks of."""
    conn.execute(
        "DELETE FROM parcel_key WHERE 'parcel:' || parcel NOT IN (SELECT subject FROM state WHERE kind = 'parcel' AND document <> ?)",
        (document,),
    )
