from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.server.day import Day, open_day


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    """A server with one merchant, his shop and 1000 yuan."""
    opened = open_day(tmp_path)
    yield opened
    opened.store.close()
