"""The platform's settings, kept in the database and changed by commands only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from server import schema_trade as st
from server.rows import rows_where, upsert
from sync_core.payload import canonical_json
from trade.calendar import MarketCalendar
from trade.pricing import FeeTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the authority goes by. Defaults are what a new platform starts with."""

    fees: FeeTable = field(
        default_factory=lambda: FeeTable(commission_fen_per_piece=150, courier_fen=350, packing_fen=50)
    )
    calendar: MarketCalendar = field(default_factory=MarketCalendar)
    commission_stays: bool = True
    remote_regions: frozenset[str] = frozenset()
    offline_days: int = 7
    """How long a device's certificate lasts from its last contact (REL-R10)."""
    offline_actions: int = 2_000
    offline_fen: int = 10_000_000
    """What a device may do and buy from one contact to the next; what is beyond waits for a supervisor."""


def read_settings(conn: Connection) -> Settings:
    """Return the settings as they stand."""
    stored = {row.name: json.loads(row.value) for row in rows_where(conn, st.setting)}
    plain = Settings()
    platform = stored.get("platform", {})
    return Settings(
        fees=FeeTable(**stored["fees"]) if "fees" in stored else plain.fees,
        calendar=MarketCalendar(
            utc_offset_minutes=platform.get("utc_offset_minutes", plain.calendar.utc_offset_minutes),
            day_starts_minutes=platform.get("day_starts_minutes", plain.calendar.day_starts_minutes),
        ),
        commission_stays=platform.get("commission_stays", plain.commission_stays),
        remote_regions=frozenset(platform.get("remote_regions", ())),
        offline_days=platform.get("offline_days", plain.offline_days),
        offline_actions=platform.get("offline_actions", plain.offline_actions),
        offline_fen=platform.get("offline_fen", plain.offline_fen),
    )


def write_setting(conn: Connection, name: str, value: Any) -> None:
    """Keep a setting."""
    upsert(conn, st.setting, ("name",), {"name": name, "value": canonical_json(value).decode()})
