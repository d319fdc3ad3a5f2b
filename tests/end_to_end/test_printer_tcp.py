"""A spool, real sockets and a virtual printer: paper is counted, cuts and empty rolls included."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from printer.errors import DeviceError, PrinterReason
from printer.profiles import ESCPOS_RECEIPT_58, TSPL_LABEL_58, TSPL_WAYBILL_100, PrinterProfile
from printer.spool import DELIVERED, JobState, PrinterName, read_job, resolve_unknown
from printer.spooler import Spooler
from printer.transports.file import FileTransport
from printer.transports.port import Transport
from printer.transports.tcp import TcpTransport
from printer.virtual.page import Printed, read_codes
from printer.virtual.server import VirtualPrinter, serve_virtual_printer
from printer.virtual.tspl import VirtualTspl
from tests.unit.printer.spool_bench import QUICK, SpoolBench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SpoolBench]:
    spool = SpoolBench(tmp_path / "spool.db")
    yield spool
    spool.close()


@contextlib.asynccontextmanager
async def printing(
    bench: SpoolBench, profile: PrinterProfile, name: PrinterName, transport: Transport
) -> AsyncIterator[Spooler]:
    spooler = Spooler(
        printer=name,
        profile=profile,
        transaction=bench.transaction,
        open_transport=lambda: transport,
        now_ms=bench.now_ms,
        times=QUICK,
    )
    task = asyncio.create_task(spooler.run())
    try:
        yield spooler
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def records(out: Path) -> list[dict[str, object]]:
    path = out / "labels.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def codes(out: Path) -> list[str]:
    return [code for record in records(out) for code in record["codes"]]  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def virtual(language: str, out: Path) -> AsyncIterator[VirtualPrinter]:
    printer = await serve_virtual_printer(language, "127.0.0.1", 0, out)
    try:
        yield printer
    finally:
        await printer.stop()


@pytest.mark.parametrize("profile", [TSPL_LABEL_58, ESCPOS_RECEIPT_58], ids=["tspl", "escpos"])
async def test_labels_come_out_in_order_and_can_be_scanned(
    bench: SpoolBench, tmp_path: Path, profile: PrinterProfile
) -> None:
    jobs = [bench.add(f"00001000{number:04d}") for number in range(5)]
    async with virtual(profile.language.value, tmp_path / "out") as printer:
        async with printing(bench, profile, "label", TcpTransport("127.0.0.1", printer.port)):
            await bench.wait_for(lambda: all(bench.state(job) is JobState.PRINTED for job in jobs))
        assert printer.errors == []
    found = records(tmp_path / "out")
    assert codes(tmp_path / "out") == [f"00001000{number:04d}" for number in range(5)]
    for record in found:
        read = read_codes(tmp_path / "out" / str(record["png"]))
        assert {text for _, text in read} == {*record["codes"], *record["qr"]}  # type: ignore[misc]


async def test_a_cut_anywhere_in_the_job_loses_and_doubles_no_waybill(bench: SpoolBench, tmp_path: Path) -> None:
    out, chance = tmp_path / "out", random.Random(7)
    asked = 0
    async with virtual("tspl", out) as printer:
        transport = TcpTransport("127.0.0.1", printer.port)
        async with printing(bench, TSPL_WAYBILL_100, "waybill", transport) as spooler:
            for number in range(12):
                printer.cut_link_after(chance.randrange(1, 1500))
                job = bench.add(str(number), printer="waybill")
                spooler.notify()
                before = printer.printed
                ended = (JobState.PRINTED, JobState.UNKNOWN)
                await bench.wait_for(lambda job=job, ended=ended: bench.state(job) in ended)  # type: ignore[misc]
                assert printer.printed - before <= 1, "at most once by itself"
                if bench.state(job) is JobState.PRINTED:
                    assert printer.printed - before == 1
                else:
                    asked += 1
                    came_out = printer.printed > before
                    with bench.transaction() as conn:
                        resolve_unknown(conn, job, came_out, now_ms=bench.now_ms())
                    printer.cut_link_after(10**9)
                    spooler.notify()
                    await bench.wait_for(lambda job=job: bench.state(job) is JobState.PRINTED)  # type: ignore[misc]
        assert printer.printed == 12
    assert asked < 12, "cuts in the body must not bother anybody"


async def test_a_cut_in_a_streaming_printer_is_doubt(bench: SpoolBench, tmp_path: Path) -> None:
    async with virtual("escpos", tmp_path / "out") as printer:
        printer.cut_link_after(400)
        job = bench.add()
        async with printing(bench, ESCPOS_RECEIPT_58, "label", TcpTransport("127.0.0.1", printer.port)):
            await bench.wait_for(lambda: bench.state(job) is JobState.PRINTED)
    assert read_job(bench.conn, job).attempts == 2
    assert codes(tmp_path / "out") == ["000010000017"]


async def test_paper_out_by_the_control_file_and_refilled(bench: SpoolBench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "control.json").write_text('{"paper": "out"}')
    async with virtual("tspl", out) as printer:
        await bench.wait_for(lambda: printer._parser.is_out_of_paper)
        jobs = [bench.add("000010000017"), bench.add("000010000025")]
        async with printing(bench, TSPL_LABEL_58, "label", TcpTransport("127.0.0.1", printer.port)) as spooler:
            await bench.wait_for(lambda: spooler.state.blocked_by is PrinterReason.OUT_OF_PAPER)
            assert printer.printed == 0
            (out / "control.json").write_text('{"paper": "ok"}')
            await bench.wait_for(lambda: all(bench.state(job) is JobState.PRINTED for job in jobs))
    assert codes(out) == ["000010000017", "000010000025"]


async def test_numbering_goes_on_after_a_restart_and_a_torn_line(tmp_path: Path) -> None:
    async with virtual("tspl", tmp_path) as printer:
        printer._parser.feed(b"SIZE 40 mm,30 mm\r\nCLS\r\nBAR 1,1,9,9\r\nPRINT 2,1\r\n")
    with (tmp_path / "labels.jsonl").open("a") as lines:
        lines.write('{"n": 3, "pn')
    async with virtual("tspl", tmp_path) as printer:
        printer._parser.feed(b"SIZE 40 mm,30 mm\r\nCLS\r\nBAR 1,1,9,9\r\nPRINT 1,1\r\n")
    assert [(record["n"], record["png"]) for record in records(tmp_path)] == [
        (1, "0001.png"),
        (2, "0002.png"),
        (3, "0003.png"),
    ]


async def test_nobody_listening_is_unreachable_and_a_closed_link_is_lost(tmp_path: Path) -> None:
    async with virtual("tspl", tmp_path) as printer:
        port = printer.port
        transport = TcpTransport("127.0.0.1", port)
        await transport.open()
        assert await transport.read(0.01) == b""
    with pytest.raises(DeviceError) as lost:
        await transport.read(5)
    assert lost.value.reason is PrinterReason.LINK_LOST
    await transport.close()
    with pytest.raises(DeviceError) as nobody:
        await TcpTransport("127.0.0.1", port).open()
    assert nobody.value.reason is PrinterReason.UNREACHABLE
    with pytest.raises(DeviceError):
        await transport.write(b"x")


async def test_the_file_transport_keeps_each_job_whole(bench: SpoolBench, tmp_path: Path) -> None:
    silent = TSPL_LABEL_58.model_copy(update={"has_status": False})
    jobs = [bench.add("000010000017"), bench.add("000010000025")]
    async with printing(bench, silent, "label", FileTransport(tmp_path / "jobs")):
        await bench.wait_for(lambda: all(read_job(bench.conn, job).reason == DELIVERED for job in jobs))
    found = sorted((tmp_path / "jobs").iterdir())
    assert [path.name for path in found] == ["000001.prn", "000002.prn"]
    came_out: list[Printed] = []
    parser = VirtualTspl(came_out.append)
    for path in found:
        parser.feed(path.read_bytes())
    assert [printed.codes[0] for printed in came_out] == ["000010000017", "000010000025"]
    broken = FileTransport(tmp_path / "jobs" / "000001.prn")
    with pytest.raises(DeviceError):
        await broken.open()


async def test_the_command_says_when_it_is_ready_and_ends_on_a_signal(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "printer.virtual", "--language", "tspl", "--port", "0", "--out", str(tmp_path / "out"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = (await process.stdout.readline()).decode()
        assert line.startswith("virtual printer ready tspl 127.0.0.1:")
        transport = TcpTransport("127.0.0.1", int(line.rsplit(":", 1)[1]))
        await transport.open()
        await transport.write(b"\x1b!?")
        assert await transport.read(5) == b"\x00"
        await transport.close()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
