"""How fast the authority settles: purchases from received to judged, booked and said; and bytes on the wire.

Orders come through the merchant's import page, tasks through the routes page, purchases from a real device that bought offline.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.catch_up import WAREHOUSE
from bench.scene import Scene
from nahuo.demo.hands import Desk
from trade.kinds import PurchaseVerdict

MERCHANT, PASSWORD, SHOP = "lele", "bench-merchant-password", "乐乐女装"
QUOTE_FEN = 6_500
STALLS = 40
SECONDS_MAX = 120
COLUMNS = (
    "order_no", "product_code", "colour", "size", "quantity", "title", "buyer", "receiver_name", "receiver_phone", "receiver_address",
    "message", "memo", "status",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Purchases, and the seconds from durable on the server to the last verdict in its log."""

    purchases: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WireBytes:
    """TCP payload per envelope, connecting and opening included."""

    envelopes: int
    stored: float
    up: float
    down: float


def settle(folder: Path, *, orders: int) -> Settled:
    """Measure so many one-piece orders, each bought once."""
    with Scene(folder) as scene:
        picker, _ = scene.device("picker")
        _open_shop(scene)
        merchant = Desk(scene.url, name=MERCHANT, password=PASSWORD)
        merchant.sign_in()
        merchant.need("/merchant/settings", shop=SHOP, drop_ship="1", courier="中通快递", tolerance="0")
        merchant.need("/merchant/import", files=[("files", ("orders.csv", _orders(orders)))], shop=SHOP)
        merchant.close()
        scene.desk.need("/platform/routes/assign")
        picker.ask("connect")
        picker.ask("kind", kind="task", count=orders)
        picker.ask("switch", on=False)
        said = picker.ask("buy", price_fen=QUOTE_FEN - 100)
        picker.ask("switch", on=True)
        durable = int(picker.ask("acked", document=said["document"], seq=said["seq"])["at_ns"])
        until = time.monotonic() + SECONDS_MAX
        while scene.count("SELECT count(*) FROM verdict WHERE rule = ?", PurchaseVerdict.KIND) < orders:
            if time.monotonic() > until:
                raise RuntimeError("the authority did not settle in time")
            time.sleep(0.005)
        return Settled(purchases=orders, seconds=max(1e-9, (time.monotonic_ns() - durable) / 1e9))


def wire_bytes(folder: Path, *, envelopes: int) -> WireBytes:
    """Count what a backlog costs on the wire, up from its author and down to a second device, through a counting detour."""
    with Scene(folder) as scene, _Detour(scene.port) as up, _Detour(scene.port) as down:
        writer, number = scene.device(url=up.url)
        reader, _ = scene.device(url=down.url)
        last = int(writer.ask("write", document=WAREHOUSE, count=envelopes)["seq"])
        before = up.sent
        writer.ask("connect")
        writer.ask("acked", document=WAREHOUSE, seq=last)
        sent = up.sent - before
        before = down.received
        reader.ask("connect")
        reader.ask("log", document=WAREHOUSE, device=number, seq=last)
        stored = scene.count("SELECT avg(length(stored)) FROM envelope WHERE device = ?", number)
        return WireBytes(
            envelopes=envelopes, stored=stored, up=sent / envelopes, down=(down.received - before) / envelopes
        )


def _open_shop(scene: Scene) -> None:
    desk = scene.desk
    desk.need("/platform/merchants", id=MERCHANT, name=SHOP)
    desk.need(
        "/platform/couriers", courier="中通快递", first="75500000001", last="75500099999", digits="11", prefix="7",
        three_part_code="571-03 009", bag_place="广州中心",
    )  # fmt: skip
    desk.need(f"/platform/merchants/{MERCHANT}/shops", shop=SHOP, courier="中通快递")
    desk.need(f"/platform/merchants/{MERCHANT}/top-up", amount="1000000", key="bench-0001", note="")
    desk.need("/platform/fees", commission="1.50", courier="3.50", packing="0.50")
    desk.need("/platform/users", name=MERCHANT, password=PASSWORD, role="merchant_owner", organisation=MERCHANT)


def _orders(count: int) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for n in range(count):
        code = f"国大_3F-{300 + n % STALLS}_P{QUOTE_FEN // 100}_{1000 + n}#"
        address = "湖南省 长沙市 岳麓区 解放路335号2栋2单元2801室(410006)"
        rows.writerow(
            [
                f"3513{n:015d}",
                code,
                "卡其",
                "M",
                1,
                "显瘦百搭西装外套女",
                f"tb{n}",
                "杨丽",
                "13966373235",
                address,
                "",
                "",
                "paid",
            ]
        )
    return text.getvalue().encode("utf-8-sig")


class _Detour:
    """A TCP relay to the server on a loop of its own thread, which counts what passes."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.sent = self.received = 0
        self.url = ""

    def __enter__(self) -> _Detour:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _end(self) -> None:
        self._server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, far_writer, up=True), self._pass(far_reader, writer, up=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        try:
            while data := await reader.read(65_536):
                if up:
                    self.sent += len(data)
                else:
                    self.received += len(data)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
