"""kill -9 on a printing process, again and again: every waybill comes out once, and only doubt is asked about."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

from printer.spool import JobState, list_jobs, resolve_unknown
from printer.virtual.server import LabelFolder, serve_virtual_printer, system_now_ms
from tests.unit.printer.spool_bench import SpoolBench

WAYBILLS = 20
UNDER_WAY = (JobState.QUEUED, JobState.SENDING, JobState.SENT)


def printed_orders(out: Path) -> Counter[str]:
    """Count the papers by the order number on them: all waybills of the sample share one code."""
    return Counter(
        text for record in LabelFolder(out, system_now_ms).read() for text in record["text"] if "订单" in text
    )


async def test_killed_at_any_moment_each_waybill_prints_exactly_once(tmp_path: Path) -> None:
    bench, out, chance = SpoolBench(tmp_path / "spool.db"), tmp_path / "out", random.Random(3)
    names = [f"订单 {number:08d}" for number in range(WAYBILLS)]
    jobs = {bench.add_order(name.split()[1]): name for name in names}
    printer = await serve_virtual_printer("tspl", "127.0.0.1", 0, out)
    kills = asked = 0
    async with asyncio.timeout(120):
        while not all(bench.state(job) is JobState.PRINTED for job in jobs):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.end_to_end.printer_child", str(bench.path), str(printer.port)
            )
            goal = printer.printed + chance.randint(1, 6)
            # Every second time wait for the narrow moment in which the commit may have left, then strike.
            seeks_doubt = kills % 2 == 0
            while any(bench.state(job) in UNDER_WAY for job in jobs):  # another process's work sends no event
                if printer.printed >= goal and (not seeks_doubt or list_jobs(bench.conn, state=JobState.SENT)):
                    break
                await asyncio.sleep(0)
            child.kill()
            await child.wait()
            kills += 1
            await asyncio.sleep(0.05)  # what the dead process had sent still reaches the paper
            came_out = printed_orders(out)
            assert max(came_out.values(), default=0) <= 1, "a waybill printed twice by itself"
            for doubted in list_jobs(bench.conn, state=JobState.UNKNOWN):
                asked += 1
                with bench.transaction() as conn:
                    resolve_unknown(conn, doubted.id, came_out[jobs[doubted.id]] == 1, now_ms=bench.now_ms())
    await printer.stop()
    assert printed_orders(out) == Counter(names)
    assert kills >= 3
    assert 1 <= asked <= kills, "the doubtful moment was hit, and each kill leaves at most one job in doubt"
    bench.close()
