"""The device's printers: chosen by a person, durable, and whatever is wrong with a template the bag gets its bar code."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clients.runtime.printing import SpoolPrinters, open_transport, profile_of
from printer.profiles import TSPL_LABEL_58
from printer.virtual.server import serve_virtual_printer
from sync_core.errors import RefusedError
from tests.unit.clients.market import Bench


@pytest.mark.parametrize(
    "address", ["", "tcp:", "tcp://host:99999", "tcp://host:x", "usb:1", "file:", "ble:", "http://x"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(RefusedError) as refused:
        open_transport(address, TSPL_LABEL_58)
    assert refused.value.code == "printer.bad_address"


def test_a_folder_is_asked_no_questions() -> None:
    assert profile_of("label", "file:/x", "tspl").has_status is False
    assert profile_of("label", "tcp://x:9100", "tspl").has_status is True


async def test_a_printer_is_chosen_on_the_page_and_prints_what_waited(field: Bench, tmp_path: Path) -> None:
    await field.post("/buy", tasks="T1-1")
    worker = asyncio.create_task(field.printers.run())
    answer = await field.post(
        "/printer/choose", printer="label", way="file", address=str(tmp_path / "paper"), language="tspl"
    )
    assert answer["ok"] is True
    await _until(lambda: list((tmp_path / "paper").glob("*.prn")))
    assert field.printers.jobs()[0].state == "sent"
    worker.cancel()


async def test_out_of_paper_is_said_in_plain_words_and_ends_by_itself(field: Bench, tmp_path: Path) -> None:
    device = await serve_virtual_printer("tspl", "127.0.0.1", 0, tmp_path / "out")
    device.take_paper_out()
    field.printers.choose("label", f"tcp://127.0.0.1:{device.port}", "tspl")
    worker = asyncio.create_task(field.printers.run())
    await field.post("/buy", tasks="T1-1")
    await _until(lambda: field.printers.states()[0].reason == "printer.out_of_paper")
    page = await field.get("/printer")
    assert page["printers"] == [{"name": "label", "waiting": 1, "reason": "printer.out_of_paper"}]
    assert (await field.post("/buy", tasks="T2-1"))["ok"] is True
    device.refill()
    field.printers.notify()
    await _until(lambda: all(job.state == "printed" for job in field.printers.jobs()))
    assert field.printers.states()[0].reason is None
    worker.cancel()
    await device.stop()


async def test_did_it_come_out_no_prints_the_same_code_again_and_yes_ends_it(field: Bench) -> None:
    (code,) = (await field.post("/buy", tasks="T1-1"))["pieces"]
    field.replica.conn.execute("UPDATE print_job SET state = 'unknown', reason = 'printer.maybe_printed'")
    (job,) = (await field.get("/printer"))["jobs"]
    assert (job["state"], job["code"]) == ("unknown", code)
    assert (await field.post("/printer/answer", job=job["id"], came_out="0"))["ok"] is True
    assert field.printers.jobs()[0].state == "queued"
    field.replica.conn.execute("UPDATE print_job SET state = 'unknown', reason = 'printer.maybe_printed'")
    await field.post("/printer/answer", job=job["id"], came_out="1")
    assert field.printers.jobs()[0].state == "printed"
    again = await field.post("/printer/answer", job=job["id"], came_out="1")
    assert again["code"] == "printer.bad_job"


async def test_a_failed_label_is_printed_again_by_one_tap(field: Bench) -> None:
    (code,) = (await field.post("/buy", tasks="T1-1"))["pieces"]
    field.replica.conn.execute("UPDATE print_job SET state = 'failed', reason = 'printer.bad_label'")
    await field.post("/printer/retry", job=field.printers.jobs()[0].id)
    (job,) = field.printers.jobs()
    assert (job.state, job.subject) == ("queued", code)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("queued", None),
        ("sending", None),
        ("sent", None),
        ("unknown", "printer.maybe_printed"),
        ("failed", "printer.bad_label"),
    ],
)
async def test_r46_the_label_of_an_undone_purchase_is_not_printed_whatever_became_of_it(
    field: Bench, state: str, reason: str | None
) -> None:
    await field.post("/buy", tasks="T1-1")
    field.replica.conn.execute("UPDATE print_job SET state = ?, reason = ?", (state, reason))
    job = field.printers.jobs()[0].id
    await field.post("/undo")
    assert (await field.post("/printer/answer", job=job, came_out="0"))["code"] == "printer.bad_job"
    assert (await field.post("/printer/retry", job=job))["code"] == "printer.bad_job"
    assert field.count("print_job") == 0


async def test_a_bad_template_of_the_settings_never_stops_a_pick(field: Bench) -> None:
    with field.transaction():
        field.replica.set_setting("label_template.piece", {"name": "piece", "width_mm": "wide"})
    assert (await field.post("/buy", tasks="T1-1"))["ok"] is True
    asks_more = {
        "name": "piece", "width_mm": 40, "height_mm": 30,
        "elements": [{"kind": "text", "x_mm": 1, "y_mm": 1, "width_mm": 20, "height_mm": 4, "text": "{moon}"}],
    }  # fmt: skip
    with field.transaction():
        field.replica.set_setting("label_template.piece", asks_more)
    assert (await field.post("/buy", tasks="T2-1"))["ok"] is True
    assert field.count("print_job") == 2


async def _until(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110 - the spool is rows, it has no event to wait for
            await asyncio.sleep(0)


async def test_d17_what_a_killed_process_was_sending_is_judged_by_the_printer_it_went_to(field: Bench) -> None:
    """That one prints as bytes arrive, and broke: started again with another, a waybill that may be out does not print by itself."""
    killed = SpoolPrinters(field.replica, field.node.clock, ("label", "waybill"))
    killed.choose("waybill", "tcp://127.0.0.1:1", "escpos")
    with field.replica.transaction() as conn:
        names = ("code", "qr", "price", "cell", "colour", "count", "order_tail", "size", "stall", "style")
        fields: dict[str, str] = dict.fromkeys(names, "1")
        killed.enqueue(conn, printer="waybill", template="piece", fields=fields, subject="ZT1", copy_no=1, at_ms=1)
        conn.execute("UPDATE print_job SET state = 'sending'")
    again = SpoolPrinters(field.replica, field.node.clock, ("label", "waybill"))
    again.choose("waybill", "tcp://127.0.0.1:2", "tspl")
    worker = asyncio.create_task(again.run())
    await asyncio.sleep(0)
    await _until(lambda: again.jobs()[0].state != "sending")
    worker.cancel()
    assert (again.jobs()[0].state, again.jobs()[0].reason) == ("unknown", "printer.maybe_printed")
