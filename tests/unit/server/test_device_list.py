"""What the platform's list of devices says of each."""

from __future__ import annotations

from server.pages import reads_platform
from tests.unit.server.day import Day
from trade import kinds


def test_what_came_since_a_device_told_what_waits_on_it_waits_no_more(day: Day) -> None:
    wall = day.enrol("warehouse", "wu")
    report = {wall.number: {"waiting": 2, "received_ms": day.now_ms}}

    def waiting(reports: dict[int, dict[str, int]]) -> int | None:
        with day.store.reading() as conn:
            rows = reads_platform.devices(conn, day.now_ms, connected={wall.number}, reports=reports)
        found: int | None = next(row["waiting"] for row in rows if row["number"] == wall.number)
        return found

    assert waiting({}) is None, "it has told nothing since the server started"
    seen = []
    for serial in (1, 2, 3):
        seen.append(waiting(report))
        day.now_ms += 1
        wall.say(
            day.warehouse(), kinds.ReturnReceived(courier_no=f"SF{serial}", matched=False).about(f"return:SF{serial}")
        )
    assert [*seen, waiting(report)] == [2, 1, 0, 0]
