"""Serve a virtual printer on a TCP port, as a network printer on 9100, with faults that can be switched while it runs.

Every label becomes NNNN.png and one line of labels.jsonl in the output folder; numbering goes on after a restart.
Faults: paper out (it answers status and prints nothing until refilled), lid open, and a link cut after so many received
bytes. They are methods of `VirtualPrinter` and fields of control.json in the folder, read when its content changes:
{"paper": "out" | "ok", "lid_open": true, "cut_after_bytes": 700}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from printer.profiles import LanguageName
from printer.virtual.escpos import VirtualEscPos
from printer.virtual.page import Printed
from printer.virtual.tspl import VirtualTspl

CONTROL_POLL_MS: Final = 200
_READ_BYTES: Final = 4096


class ParsingPrinter(Protocol):
    """What both parsers offer."""

    is_out_of_paper: bool
    is_lid_open: bool
    errors: list[str]

    def feed(self, received: bytes) -> bytes:
        """Take bytes and return the answer."""
        ...

    def drop_link(self) -> None:
        """Forget what a broken link left unfinished."""
        ...


class LabelFolder:
    """Where the labels of a virtual printer land, one PNG and one JSON line each."""

    def __init__(self, out_dir: Path, now_ms: Callable[[], int]) -> None:
        self._out_dir = out_dir
        self._now_ms = now_ms
        out_dir.mkdir(parents=True, exist_ok=True)
        self._lines = out_dir / "labels.jsonl"
        self._mend_last_line()
        self.count = max((record["n"] for record in self.read()), default=0)

    def read(self) -> list[dict[str, Any]]:
        """Return all records, oldest first."""
        if not self._lines.exists():
            return []
        return [json.loads(line) for line in self._lines.read_text("utf-8").splitlines() if line]

    def store(self, printed: Printed) -> None:
        """Write the picture, then its line: a line always has its picture."""
        number = self.count + 1
        name = f"{number:04d}.png"
        part = self._out_dir / f".{name}.part"
        printed.image.save(part, format="PNG", compress_level=1)
        part.replace(self._out_dir / name)
        record = {
            "n": number,
            "png": name,
            "codes": list(printed.codes),
            "qr": list(printed.qr),
            "text": list(printed.text),
            "at_ms": self._now_ms(),
        }
        with self._lines.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        self.count = number

    def _mend_last_line(self) -> None:
        """Cut off a line that a kill left half written."""
        if not self._lines.exists():
            return
        content = self._lines.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self._lines.write_bytes(whole)


class VirtualPrinter:
    """A running virtual printer: its port, its faults, its errors."""

    def __init__(self, parser: ParsingPrinter, folder: LabelFolder, out_dir: Path) -> None:
        self._parser = parser
        self._folder = folder
        self._control = out_dir / "control.json"
        self._control_seen = ""
        self._cut_after_bytes: int | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._polling: asyncio.Task[None] | None = None
        self.received_bytes = 0

    @property
    def port(self) -> int:
        """Return the TCP port it listens on."""
        if self._server is None:
            raise RuntimeError("the virtual printer is not running")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def printed(self) -> int:
        """Return how many labels the folder holds."""
        return self._folder.count

    @property
    def errors(self) -> list[str]:
        """Return what a real printer would have skipped in silence."""
        return self._parser.errors

    def take_paper_out(self) -> None:
        """Answer "no paper" and print nothing."""
        self._parser.is_out_of_paper = True

    def refill(self) -> None:
        """Print again."""
        self._parser.is_out_of_paper = False

    def open_lid(self, *, is_open: bool = True) -> None:
        """Answer "lid open" and print nothing, or close the lid."""
        self._parser.is_lid_open = is_open

    def cut_link_after(self, count: int) -> None:
        """Drop the connection once `count` more bytes have been received; happens once."""
        self._cut_after_bytes = count

    async def start(self, host: str, port: int) -> None:
        """Listen and poll control.json."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self._polling = asyncio.create_task(self._poll_control())

    async def stop(self) -> None:
        """Close the port and every link."""
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
        if self._server is not None:
            self._server.close()
            for writer in list(self._links):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        try:
            while received := await reader.read(_READ_BYTES):
                is_cut = self._cut_after_bytes is not None and len(received) >= self._cut_after_bytes
                if is_cut:
                    received = received[: self._cut_after_bytes]
                elif self._cut_after_bytes is not None:
                    self._cut_after_bytes -= len(received)
                self.received_bytes += len(received)
                answer = self._parser.feed(received)
                if is_cut:
                    self._cut_after_bytes = None
                    return
                if answer:
                    writer.write(answer)
                    await writer.drain()
        except ConnectionError:
            pass  # the other end went away; what it had sent counts
        finally:
            self._parser.drop_link()
            self._links.discard(writer)
            writer.transport.abort()

    async def _poll_control(self) -> None:
        while True:
            self._read_control()
            await asyncio.sleep(CONTROL_POLL_MS / 1000)

    def _read_control(self) -> None:
        """Obey control.json when its content changed; a half-written file is read again next time."""
        try:
            content = self._control.read_text("utf-8")
        except OSError:
            return
        if content == self._control_seen:
            return
        try:
            wishes = json.loads(content)
        except ValueError:
            return
        self._control_seen = content
        if not isinstance(wishes, dict):
            return
        if wishes.get("paper") in ("out", "ok"):
            self._parser.is_out_of_paper = wishes["paper"] == "out"
        if isinstance(wishes.get("lid_open"), bool):
            self._parser.is_lid_open = wishes["lid_open"]
        if isinstance(wishes.get("cut_after_bytes"), int):
            self._cut_after_bytes = wishes["cut_after_bytes"]


def system_now_ms() -> int:
    """Return the wall clock in whole milliseconds."""
    return time.time_ns() // 1_000_000


async def serve_virtual_printer(
    language: LanguageName | str,
    host: str,
    port: int,
    out_dir: Path,
    *,
    width_mm: float = 48,
    now_ms: Callable[[], int] = system_now_ms,
) -> VirtualPrinter:
    """Return a printer that listens on `host`:`port` (0 picks a free port) and prints into `out_dir`.

    `width_mm` is the roll of an ESC/POS printer; TSPL labels bring their own size.

    Raises:
        ValueError: a language without a virtual printer.
        OSError: the port is taken, or the folder cannot be written.
    """
    folder = LabelFolder(out_dir, now_ms)
    parser: ParsingPrinter
    match LanguageName(language):
        case LanguageName.TSPL:
            parser = VirtualTspl(folder.store)
        case LanguageName.ESCPOS:
            parser = VirtualEscPos(folder.store, width_dots=round(width_mm * 8))
    printer = VirtualPrinter(parser, folder, out_dir)
    await printer.start(host, port)
    return printer
