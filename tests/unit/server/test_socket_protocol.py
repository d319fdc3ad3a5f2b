"""What a socket may cost, over real sockets: uvicorn with our protocol classes and an application that does nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from proof.raw_socket import BINARY, CONT, PING, PONG, RawSocket, frame_bytes
from server.socket_protocol import FLOODED, PROTOCOLS, GuardedSocket, PatientHttp
from sync_core import limits
from sync_core.allowance import Allowance


class App:
    """Accepts when it may, echoes what it hears, and remembers how connections ended."""

    def __init__(self) -> None:
        self.may_accept = asyncio.Event()
        self.may_accept.set()
        self.asked = asyncio.Event()
        self.heard: list[bytes] = []
        self.ends: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        await receive()
        self.asked.set()
        await self.may_accept.wait()
        with suppress(OSError):
            await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.ends.append(message["code"])
                return
            self.heard.append(message["bytes"])
            with suppress(OSError):
                await send({"type": "websocket.send", "bytes": message["bytes"]})


@pytest.fixture
async def served() -> AsyncIterator[tuple[App, int]]:
    """(application, port)."""
    app = App()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, lifespan="off", log_level="critical", ws_max_size=limits.FRAME_BYTES_MAX, ws_ping_interval=None,
            ws_per_message_deflate=False, timeout_graceful_shutdown=1, **PROTOCOLS,
        )  # fmt: skip
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listener]))
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110  # uvicorn offers no event
                await asyncio.sleep(0)
        yield app, listener.getsockname()[1]
        server.should_exit = True
        await running


async def ended(client: RawSocket) -> int | None:
    """How the server ended the connection."""
    async with asyncio.timeout(10):
        code = await client.until_closed()
    client.drop()
    return code


async def test_an_honest_peer_is_echoed_also_in_pieces_and_large(served: tuple[App, int]) -> None:
    _, port = served
    client = await RawSocket.connect(port)
    await client.send(b"a")
    assert (await client.receive())[1] == b"a"
    for place in range(limits.FRAGMENTS_MAX):
        client.put(b"b", opcode=CONT if place else BINARY, fin=place == limits.FRAGMENTS_MAX - 1)
    assert (await client.receive())[1] == b"b" * limits.FRAGMENTS_MAX
    await client.send(b"c" * limits.FRAME_BYTES_MAX)
    assert (await client.receive())[1] == b"c" * limits.FRAME_BYTES_MAX
    for _ in range(limits.CONTROL_FRAMES_BURST):
        client.put(b"", opcode=PING)
        assert (await client.receive())[0] == PONG
    client.drop()


async def test_empty_pieces_of_a_message_without_end(served: tuple[App, int]) -> None:
    app, port = served
    client = await RawSocket.connect(port)
    client.put(b"", fin=False)
    client.writer.write(frame_bytes(b"", opcode=CONT, fin=False) * (limits.FRAGMENTS_MAX + 1))
    assert await ended(client) == FLOODED
    assert app.ends == [FLOODED]
    assert app.heard == []


async def test_more_frames_than_any_device_sends(served: tuple[App, int]) -> None:
    app, port = served
    client = await RawSocket.connect(port)
    client.writer.write(frame_bytes(b"x") * (limits.FRAMES_BURST + 2_000))
    assert await ended(client) == FLOODED
    assert len(app.heard) <= limits.FRAMES_BURST + limits.FRAMES_PER_SECOND


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_more_control_frames_than_any_client_sends(served: tuple[App, int], opcode: int) -> None:
    _, port = served
    client = await RawSocket.connect(port)
    client.writer.write(frame_bytes(b"", opcode=opcode) * (limits.CONTROL_FRAMES_BURST + 3))
    assert await ended(client) == FLOODED


async def test_a_frame_larger_than_any_honest_one(served: tuple[App, int]) -> None:
    _, port = served
    client = await RawSocket.connect(port)
    client.put(b"", says=limits.FRAME_BYTES_MAX + 1)
    assert await ended(client) == 1009


async def test_compression_is_not_agreed(served: tuple[App, int]) -> None:
    _, port = served
    client = await RawSocket.connect(port, more="Sec-WebSocket-Extensions: permessage-deflate\r\n")
    assert b"permessage-deflate" not in client.headers
    client.put(b"x", rsv=4)
    assert await ended(client) == 1002


async def test_nothing_is_read_before_the_peer_is_accepted(
    served: tuple[App, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, port = served
    app.may_accept.clear()
    parsed: list[int] = []
    before = GuardedSocket.handle_bytes

    def noting(self: GuardedSocket, event: object) -> None:
        parsed.append(1)
        before(self, event)  # type: ignore[arg-type]

    monkeypatch.setattr(GuardedSocket, "handle_bytes", noting)
    other_reader, other = await asyncio.open_connection("127.0.0.1", port)
    other.write(
        b"GET /sync HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await app.asked.wait()
    other.write(frame_bytes(b"early") * 50)
    await other.drain()
    # A whole other request goes through meanwhile, so the early frames have had their turn.
    for _ in range(3):
        assert (await _get(port)).startswith(b"HTTP/1.1 200")
    assert parsed == []
    app.may_accept.set()
    async with asyncio.timeout(10):
        await other_reader.readuntil(b"\r\n\r\n")
        await other_reader.readexactly(7)
    assert parsed
    other.transport.abort()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HALF_OPEN_MS_MAX", "BODY_MS_MAX", "SILENCE_MS_MAX"):
        monkeypatch.setattr(limits, name, 400)


@pytest.mark.usefixtures("_quick")
async def test_a_peer_that_does_not_read_is_dropped(served: tuple[App, int]) -> None:
    app, port = served
    client = await RawSocket.connect(port)
    cast(asyncio.Transport, client.writer.transport).pause_reading()
    with suppress(OSError):
        async with asyncio.timeout(20):
            while not app.ends:
                client.put(b"x" * limits.FRAME_BYTES_MAX)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await client.writer.drain()
    assert app.ends == [FLOODED]
    client.drop()


@pytest.mark.usefixtures("_quick")
async def test_an_upgraded_connection_is_no_request_that_never_ends(served: tuple[App, int]) -> None:
    app, port = served
    client = await RawSocket.connect(port)
    later = asyncio.get_running_loop().time() + 1.0  # longer than any request may take here
    while asyncio.get_running_loop().time() < later:
        with suppress(ConnectionResetError):  # on a busy machine a request may take longer than it may take here
            await _get(port)
    await client.send(b"still here")
    assert (await client.receive())[1] == b"still here"
    assert app.ends == []
    client.drop()


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /sync HTTP/1.1\r\nHost: x\r\nUpgr",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTT",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
    ],
    ids=["nothing", "half a head", "half a second head", "half a body"],
)
async def test_a_request_that_never_ends_is_dropped(served: tuple[App, int], sent: bytes) -> None:
    _, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(10):
        with suppress(ConnectionResetError):
            await reader.read()
    assert PatientHttp._half_open == {}
    writer.transport.abort()


async def test_of_too_many_half_requests_the_oldest_goes(
    served: tuple[App, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HALF_OPEN_PER_ADDRESS_MAX", 3)
    _, port = served
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
    async with asyncio.timeout(10):
        with suppress(ConnectionResetError):
            await opened[0][0].read()
    assert (await _get(port)).startswith(b"HTTP/1.1 200")  # an honest request still goes through
    for _, writer in opened:
        writer.transport.abort()


def test_the_classes_beneath_have_what_ours_override() -> None:
    for ours, theirs in ((GuardedSocket, WebSocketsSansIOProtocol), (PatientHttp, H11Protocol)):
        own = {name for name, value in vars(ours).items() if callable(value) and not name.startswith("_")}
        assert own
        assert {name for name in own if not hasattr(theirs, name)} == set()


def test_an_allowance_is_used_up_and_fills_again() -> None:
    allowance = Allowance(burst=3, per_second=2, now_ms=0)
    assert [allowance.take(0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(499)
    assert allowance.take(500)
    assert not allowance.take(500)
    assert [allowance.take(1_000_000) for _ in range(4)] == [True, True, True, False]


async def _get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer
