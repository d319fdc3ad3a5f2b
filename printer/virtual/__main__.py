"""Run a virtual printer until it is stopped: `python -m printer.virtual --language tspl --port 9100 --out DIR`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path

from printer.profiles import LanguageName
from printer.virtual.server import serve_virtual_printer


def run_vprinter(
    language: str, port: int, out_dir: Path | str, *, host: str = "127.0.0.1", width_mm: float = 48
) -> None:
    """Serve until SIGINT or SIGTERM; prints one line "virtual printer ready tspl 127.0.0.1:9100" when it listens."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(LanguageName(language), host, port, Path(out_dir), width_mm))


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code of the command line."""
    parser = argparse.ArgumentParser(prog="printer.virtual", description="A label printer without hardware.")
    parser.add_argument("--language", choices=[name.value for name in LanguageName], default="tspl")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width-mm", type=float, default=48, help="the roll of an ESC/POS printer")
    options = parser.parse_args(argv)
    run_vprinter(options.language, options.port, options.out, host=options.host, width_mm=options.width_mm)
    return 0


async def _run(language: LanguageName, host: str, port: int, out_dir: Path, width_mm: float) -> None:
    printer = await serve_virtual_printer(language, host, port, out_dir, width_mm=width_mm)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers in its loop
            loop.add_signal_handler(number, stopped.set)
    print(f"virtual printer ready {language.value} {host}:{printer.port}", flush=True)
    try:
        await stopped.wait()
    finally:
        await printer.stop()


if __name__ == "__main__":
    raise SystemExit(main())
