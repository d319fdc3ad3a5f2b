"""Bluetooth through bleak to an emulated GATT printer: real ATT on both ends, the bytes parsed and the label read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from printer.errors import DeviceError, PrinterReason
from printer.languages.tspl import Tspl
from printer.profiles import TSPL_LABEL_58, TSPL_LABEL_58_RASTER, PrinterProfile, WriteMode
from printer.spool import JobState, read_job
from printer.spooler import Spooler
from printer.transports.ble import BleTransport
from printer.virtual.page import read_codes
from tests.end_to_end.printer_radio import PRINTER_ADDRESS, Radio, radio_backends, settle
from tests.unit.printer.samples import piece_label
from tests.unit.printer.spool_bench import QUICK, SpoolBench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SpoolBench]:
    spool = SpoolBench(tmp_path / "spool.db")
    yield spool
    spool.close()


def reach(radio: Radio, profile: PrinterProfile = TSPL_LABEL_58, *, address: str = PRINTER_ADDRESS) -> BleTransport:
    scanner, client = radio_backends(radio)
    return BleTransport(
        profile, address=address.lower(), scan_timeout_s=2, client_backend=client, scanner_backend=scanner
    )


@pytest.mark.parametrize("mtu", [23, 185, 247, 517])
@pytest.mark.parametrize("mode", WriteMode)
@pytest.mark.parametrize("offers_answer", [True, False])
async def test_a_label_arrives_whole_at_every_mtu(mtu: int, mode: WriteMode, offers_answer: bool) -> None:
    radio = Radio(mtu=mtu, offers_answer=offers_answer)
    await radio.start()
    profile = TSPL_LABEL_58_RASTER.model_copy(update={"write_mode": mode, "pace_ms": 0, "chunk_bytes_max": 244})
    transport = reach(radio, profile)
    await transport.open()
    job = Tspl().encode(piece_label(), profile)
    await transport.write(job.body)
    assert radio.papers == []
    await transport.write(job.commit)
    await settle()
    assert max(map(len, radio.chunks)) == min(244, mtu - 3)
    assert b"".join(radio.chunks) == job.body + job.commit
    assert radio.parser.errors == []
    (printed,) = radio.papers
    assert set(read_codes(printed.image)) == {("code128", "000010000017"), ("qr", "N1|000010000017|T7|2/3")}
    await transport.close()


async def test_status_is_asked_and_heard() -> None:
    radio = Radio(mtu=185, offers_answer=True)
    await radio.start()
    transport = reach(radio)
    await transport.open()
    assert await transport.read(0.01) == b""
    radio.parser.is_out_of_paper = True
    await transport.write(Tspl.status_query)
    assert Tspl().parse_status(await transport.read(5), TSPL_LABEL_58).reasons == (PrinterReason.OUT_OF_PAPER,)
    await transport.close()


async def test_a_lost_link_is_called_a_lost_link() -> None:
    radio = Radio(mtu=185, offers_answer=False)
    await radio.start()
    transport = reach(radio)
    await transport.open()
    radio.cut_after_bytes = 300
    with pytest.raises(DeviceError) as lost:
        for _ in range(100):
            await transport.write(b"REM " + b"x" * 400 + b"\r\n")
    assert lost.value.reason is PrinterReason.LINK_LOST
    with pytest.raises(DeviceError) as still:
        await transport.read(5)
    assert still.value.reason is PrinterReason.LINK_LOST
    await transport.close()


async def test_a_printer_that_is_not_there_is_unreachable() -> None:
    radio = Radio(mtu=185, offers_answer=True)
    await radio.start()
    with pytest.raises(DeviceError) as caught:
        await reach(radio, address="00:00:00:00:00:09").open()
    assert caught.value.reason is PrinterReason.UNREACHABLE


async def test_a_printer_is_found_by_the_beginning_of_its_name() -> None:
    radio = Radio(mtu=185, offers_answer=True)
    await radio.start()
    scanner, client = radio_backends(radio)
    transport = BleTransport(TSPL_LABEL_58, name_prefix="Nahuo-", client_backend=client, scanner_backend=scanner)
    await transport.open()
    await transport.close()
    with pytest.raises(ValueError, match="address or by the beginning"):
        BleTransport(TSPL_LABEL_58)


@pytest.mark.parametrize("cut_after", [20, 400, 1000])
async def test_the_spool_finishes_over_a_radio_that_breaks(bench: SpoolBench, cut_after: int) -> None:
    radio = Radio(mtu=185, offers_answer=True)
    await radio.start()
    radio.cut_after_bytes = cut_after
    jobs = [bench.add("000010000017"), bench.add("000010000025")]
    spooler = Spooler(
        printer="label",
        profile=TSPL_LABEL_58,
        transaction=bench.transaction,
        open_transport=lambda: reach(radio),
        now_ms=bench.now_ms,
        times=QUICK,
    )
    task = asyncio.create_task(spooler.run())
    await bench.wait_for(lambda: all(bench.state(job) is JobState.PRINTED for job in jobs))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    # At least once: a cut between PRINT and its confirmation may print one label twice, never none.
    codes = [printed.codes[0] for printed in radio.papers]
    assert list(dict.fromkeys(codes)) == ["000010000017", "000010000025"]
    assert len(codes) <= 3
    assert radio.cut_after_bytes is None, "the cut happened"
    assert read_job(bench.conn, jobs[0]).attempts + read_job(bench.conn, jobs[1]).attempts <= 3
