"""A process that only prints: `python -m tests.end_to_end.printer_child SPOOL.db PORT`; it is there to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from printer.profiles import TSPL_WAYBILL_100
from printer.spooler import Spooler
from printer.transports.tcp import TcpTransport
from tests.unit.printer.spool_bench import QUICK, SpoolBench


async def main(path: Path, port: int) -> None:
    """Print waybills until killed."""
    bench = SpoolBench(path)
    spooler = Spooler(
        printer="waybill",
        profile=TSPL_WAYBILL_100,
        transaction=bench.transaction,
        open_transport=lambda: TcpTransport("127.0.0.1", port),
        now_ms=bench.now_ms,
        times=QUICK,
    )
    await spooler.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
