"""A WebSocket of a hostile peer: what it sends is written byte by byte, also what no library would send. RFC 6455, client side only."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Self

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN = 0x80
MASK = b"\x00\x00\x00\x00"
"""A mask of zeros is a mask: the payload goes out as it is."""


class NotUpgradedError(Exception):
    """The server did not upgrade; `status` is its HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class RawSocket:
    """One upgraded connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.close_code: int | None = None
        self.close_reason = ""
        self.headers = b""

    @classmethod
    async def connect(cls, port: int, *, token: str | None = None, more: str = "", path: str = "/sync") -> Self:
        """Connect and upgrade.

        Raises:
            NotUpgradedError: the server answered something else.
            OSError: it did not answer.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        who = f"Authorization: Bearer {token}\r\n" if token is not None else ""
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{who}{more}\r\n".encode()
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            writer.close()
            raise ConnectionResetError("the server closed during the handshake") from error
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            writer.close()
            raise NotUpgradedError(status)
        made = cls(reader, writer)
        made.headers = head
        return made

    def put(
        self, payload: bytes, *, opcode: int = BINARY, fin: bool = True, rsv: int = 0, says: int | None = None
    ) -> None:
        """Write one frame; `says` is the length it claims, when that is a lie."""
        self.writer.write(frame_bytes(payload, opcode=opcode, fin=fin, rsv=rsv, says=says))

    async def send(self, payload: bytes) -> None:
        """Send one binary message."""
        self.put(payload)
        await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """Return (opcode, payload) of the next frame.

        Raises:
            ConnectionError: the connection ended; `close_code` says how, when the server said it.
        """
        try:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            payload = await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the server closed") from error
        opcode = first & 0x0F
        if opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.close_reason = payload[2:].decode("utf-8", "replace")
            raise ConnectionResetError(f"closed with {self.close_code}")
        return opcode, payload

    async def until_closed(self) -> int | None:
        """Read on until the server ends it; return its close code, None when it said none."""
        try:
            while True:
                await self.receive()
        except OSError:
            return self.close_code

    def drop(self) -> None:
        """End it without a word."""
        self.writer.transport.abort()


def frame_bytes(
    payload: bytes, *, opcode: int = BINARY, fin: bool = True, rsv: int = 0, says: int | None = None
) -> bytes:
    """Return one masked frame."""
    size = len(payload) if says is None else says
    head = bytes([(FIN if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + MASK + payload
