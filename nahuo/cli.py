"""The command line. Each command imports what it runs only when it is run, so that `nahuo --help` is quick everywhere.

Exit codes: 0 done; 1 an expected failure, or a recount that does not hold, told in one line; 2 a command line that cannot be
understood; 130 stopped by Ctrl-C. An unexpected exception keeps its traceback: it is a bug.
"""

from __future__ import annotations

import argparse
import gc
import getpass
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from sync_core.errors import NahuoError, RefusedError
from sync_core.storage import plain_error

if TYPE_CHECKING:
    from clients.runtime.serve import Launch

COLLECT_AFTER = 50_000
"""So many new objects let the garbage be looked for. At Python's 700 a start, which only makes modules, spends a tenth of its time so."""
LANGUAGES = ("tspl", "escpos")
DESCRIPTION = "Nahuo 拿货: stall picking and one-piece drop-shipping that goes on working without a signal."


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of the whole usage."""

    def error(self, message: str) -> Never:
        self.exit(2, f"nahuo: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    chosen = build_parser().parse_args(argv)
    gc.set_threshold(COLLECT_AFTER)
    try:
        return int(chosen.run(chosen))
    except NahuoError as error:
        print(f"nahuo: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output went away (`nahuo status | head`): nothing to say, nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # What the system refuses is nobody's bug: a folder of another user, a full disk, a file where a folder should be.
        plain = plain_error(error)
        if plain is None and not isinstance(error, IsADirectoryError | NotADirectoryError):
            raise
        print(f"nahuo: {f'{error.filename}: {error.strerror}' if error.filename else plain}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; tests hold it against the documentation."""
    parser = _Parser(prog="nahuo", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"nahuo {version('nahuo')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_serving(commands)
    _add_devices(commands)
    _add_folders(commands)
    _add_proof(commands)
    return parser


def _add_serving(commands: Any) -> None:
    init = _command(commands, "init", _run_init, "make a server's data folder: key, time zone, first administrator")
    _data(init)
    init.add_argument("--admin", required=True, metavar="NAME", help="name of the first administrator")
    init.add_argument("--password", help="his password; asked for when left out (or taken from NAHUO_PASSWORD)")
    init.add_argument("--zone", default="Asia/Shanghai", help="time zone of the markets (default %(default)s)")
    init.add_argument("--database", metavar="URL", help="PostgreSQL instead of the SQLite file in the folder")

    server = _command(
        commands, "server", _run_server, "run the server: sync, authority, wallet, merchant and platform pages"
    )
    _data(server)
    _port(server, 8700)
    server.add_argument("--database", metavar="URL", help="PostgreSQL instead of the SQLite file in the folder")
    server.add_argument("--framed-by", metavar="ORIGIN", help="let this page show ours in a frame (demonstrations)")

    orders = _command(commands, "import", _run_import, "read a shop's order files: a Taobao pair, or the plain CSV")
    _data(orders)
    orders.add_argument("--shop", required=True, help="name of the shop the orders belong to")
    orders.add_argument("--database", metavar="URL", help="the server's PostgreSQL, when it has one")
    orders.add_argument(
        "--wait", type=float, default=60, metavar="SECONDS", help="for the server's answer (default %(default)s)"
    )
    orders.add_argument("files", nargs="+", type=Path, metavar="FILE")


def _add_devices(commands: Any) -> None:
    for name, run, what in (
        ("field", _run_field, "run the picker's and runner's client on this device, at 127.0.0.1"),
        ("warehouse", _run_warehouse, "run the warehouse terminal's client on this device, at 127.0.0.1"),
    ):
        client = _command(commands, name, run, what)
        _data(client)
        client.add_argument("--server", metavar="URL", help="the server's address; kept after the enrolment")
        client.add_argument("--enroll", metavar="CODE", help="the one-time code the platform gave; needed once")
        client.add_argument(
            "--printer", metavar="ADDRESS", help="label printer: tcp://host:port, file:DIR or ble:ADDRESS"
        )
        client.add_argument("--language", choices=LANGUAGES, default="tspl", help="its language (default %(default)s)")
        client.add_argument("--waybill-printer", metavar="ADDRESS", help="a second printer, for waybills")
        client.add_argument(
            "--waybill-language", choices=LANGUAGES, default="tspl", help="its language (default %(default)s)"
        )
        client.add_argument(
            "--framed-by", metavar="ORIGIN", help="let this page show the client in a frame (demonstrations)"
        )
        _port(client, 0)

    printer = _command(
        commands, "vprinter", _run_vprinter, "run a virtual label printer: parses its language, writes PNG files"
    )
    printer.add_argument("--language", choices=LANGUAGES, default="tspl")
    printer.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the labels go")
    printer.add_argument(
        "--width-mm", type=float, default=48, help="roll width of an ESC/POS printer (default %(default)s)"
    )
    _port(printer, 9100)


def _add_folders(commands: Any) -> None:
    status = _command(commands, "status", _run_status, "say what waits, since when, last acknowledged, discrepancies")
    _data(status)
    _json_flag(status)

    verify = _command(
        commands, "verify", _run_verify, "recount a server's or client's folder from its logs; exit 1 on any fault"
    )
    verify.add_argument("data", type=Path, metavar="DIR")
    _json_flag(verify)

    backup = _command(commands, "backup", _run_backup, "copy a folder in use into one verified file")
    _data(backup)
    backup.add_argument("--to", type=Path, required=True, metavar="FILE", help="a new file")
    _json_flag(backup)

    restore = _command(commands, "restore", _run_restore, "put a backup into a new or empty folder")
    restore.add_argument("--from", dest="file", type=Path, required=True, metavar="FILE")
    _data(restore)
    restore.add_argument(
        "--again",
        type=int,
        default=0,
        metavar="N",
        choices=range(99),
        help="N servers have worked already since this backup was made that were restored themselves: use none of their numbers",
    )
    _json_flag(restore)

    token = _command(
        commands, "token", _run_token, "make a token with which another program may read documents, and write nothing"
    )
    _data(token)
    token.add_argument("--hours", type=int, default=24, help="how long it is good (default %(default)s)")
    token.add_argument(
        "--document", dest="named", action="append", default=[], metavar="NAME",
        help="a document it reads, for instance route/2026-11-20-101; say it again for more",
    )  # fmt: skip
    token.add_argument("--read-only", action="store_true", help="it writes nothing; there is no other kind of token")
    token.add_argument("documents", nargs="*", metavar="DOCUMENT", help="more documents")


def _add_proof(commands: Any) -> None:
    demo = _command(commands, "demo", _run_demo, "play one market day on this machine")
    demo.add_argument(
        "--headless", action="store_true", help="play the whole day with no hands, then check the invariants"
    )
    demo.add_argument("--orders", type=int, default=300, metavar="N", help="orders of the day (default %(default)s)")
    demo.add_argument("--seed", type=int, default=1, metavar="S")
    demo.add_argument("--json", type=Path, metavar="FILE", help="with --headless: write the result here")
    demo.add_argument("--fresh", action="store_true", help="begin anew instead of where the last demo stopped")
    demo.add_argument("--data", type=Path, default=Path("demo-data"), metavar="DIR", help="default %(default)s")
    demo.add_argument("--port", type=int, default=8710, help="the demo page's port (default %(default)s)")

    sim = _command(commands, "sim", _run_sim, "run the seeded simulator: cuts, loss, duplicates, reordering, crashes")
    sim.add_argument(
        "--seeds", type=_seeds, default=(1, 20), metavar="A:B", help="seeds A to B, or one seed (default 1:20)"
    )
    sim.add_argument("--json", type=Path, metavar="FILE", help="write results, counters and trace hashes here as well")
    sim.add_argument("--data", type=Path, metavar="DIR", help="keep each seed's folders here (default: deleted)")
    sim.add_argument("--jobs", type=int, metavar="N", help="processes (default: one a processor)")
    sim.add_argument(
        "--without",
        type=_names,
        default=(),
        metavar="FAULTS",
        help="switch kinds of faults off: cut,replay (see nahuo/sim/faults.py)",
    )
    sim.add_argument(
        "--shrink", action="store_true", help="look for the fewest faults with which a failing seed still fails"
    )

    bench = _command(commands, "bench", _run_bench, "measure, and print the figures beside the budgets")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    bench.add_argument("--quick", action="store_true", help="measure little of each: shows that it runs, not how fast")


def _seeds(text: str) -> tuple[int, int]:
    """`3:9` -> (3, 9); `7` -> (7, 7)."""
    first, colon, last = text.partition(":")
    if not first.isdigit() or (colon and not last.isdigit()) or (colon and int(last) < int(first)):
        raise argparse.ArgumentTypeError(f"seeds are written 7 or 1:200, not {text}")
    return int(first), int(last if colon else first)


def _names(text: str) -> tuple[str, ...]:
    """`cut,replay` -> ("cut", "replay"); only names of faults."""
    from nahuo.sim.faults import SWITCHES

    names = tuple(name for name in text.split(",") if name)
    unknown = [name for name in names if name not in SWITCHES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(unknown)}; there are {', '.join(SWITCHES)}")
    return names


def _command(commands: Any, name: str, run: Any, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data folder")


def _port(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=default, help="0 takes a free one" if default == 0 else "default %(default)s"
    )


def _json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


# --- the commands -------------------------------------------------------------------------------------------------------


def _run_init(chosen: argparse.Namespace) -> int:
    from nahuo.founding import init_folder

    password = chosen.password or os.environ.get("NAHUO_PASSWORD") or _ask_password()
    init_folder(chosen.data, admin=chosen.admin, password=password, zone=chosen.zone, database=chosen.database)
    print(f"{chosen.data} is ready: nahuo server --data {chosen.data}")
    return 0


def _run_server(chosen: argparse.Namespace) -> int:
    from nahuo.serving import serve_folder

    embedders = (chosen.framed_by,) if chosen.framed_by else ()
    serve_folder(chosen.data, host=chosen.host, port=chosen.port, database=chosen.database, embedders=embedders)
    return 0


def _run_import(chosen: argparse.Namespace) -> int:
    from nahuo.order_import import import_files

    return import_files(
        chosen.data, shop=chosen.shop, files=chosen.files, database=chosen.database, wait_seconds=chosen.wait
    )


def _run_field(chosen: argparse.Namespace) -> int:
    from clients.field.main import run

    return run(_launch(chosen))


def _run_warehouse(chosen: argparse.Namespace) -> int:
    from clients.warehouse.main import run

    return run(_launch(chosen))


def _run_vprinter(chosen: argparse.Namespace) -> int:
    from printer.virtual.__main__ import run_vprinter

    run_vprinter(chosen.language, chosen.port, chosen.out, host=chosen.host, width_mm=chosen.width_mm)
    return 0


def _run_demo(chosen: argparse.Namespace) -> int:
    from nahuo.demo.main import run

    return run(chosen)


def _run_sim(chosen: argparse.Namespace) -> int:
    from nahuo.sim.main import run

    return run(chosen)


def _run_bench(chosen: argparse.Namespace) -> int:
    from bench.main import run

    return run(chosen)


def _run_status(chosen: argparse.Namespace) -> int:
    from nahuo.status import read_status, show_status

    status = read_status(chosen.data)
    _show(chosen, status.as_json(), lambda: show_status(status, now_ms=time.time_ns() // 1_000_000))
    return 0


def _run_verify(chosen: argparse.Namespace) -> int:
    from nahuo.verify import show_verdict, verify_folder

    verdict = verify_folder(chosen.data)
    _show(chosen, verdict.as_json(), lambda: show_verdict(verdict))
    return 0 if verdict.holds else 1


def _run_backup(chosen: argparse.Namespace) -> int:
    from nahuo.backup import make_backup

    backup = make_backup(chosen.data, chosen.to)
    size = sum(backup.files.values())
    body = {"file": str(backup.path), "kind": backup.kind, "made_at_ms": backup.made_at_ms, "files": backup.files}
    words = f"{backup.kind}: {len(backup.files)} files, {size:,} bytes, verified byte by byte, in {backup.path}"
    _show(chosen, body, lambda: f"{words} (nahuo verify {chosen.data} recounts what they say)")
    return 0


def _run_restore(chosen: argparse.Namespace) -> int:
    from nahuo.backup import restore_backup

    backup = restore_backup(chosen.file, chosen.data, again=chosen.again)
    body = {"folder": str(chosen.data), "kind": backup.kind, "made_at_ms": backup.made_at_ms, "files": backup.files}
    _show(chosen, body, lambda: f"{backup.kind}: {len(backup.files)} files restored into {chosen.data}")
    return 0


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise RefusedError("init.password", "give the administrator's password with --password or in NAHUO_PASSWORD")
    return getpass.getpass("password of the administrator: ")


def _launch(chosen: argparse.Namespace) -> Launch:
    from clients.runtime.serve import Launch

    return Launch(
        data=chosen.data,
        server=chosen.server or "",
        enroll=chosen.enroll,
        port=chosen.port,
        host=chosen.host,
        printer=chosen.printer,
        language=chosen.language,
        waybill_printer=chosen.waybill_printer,
        waybill_language=chosen.waybill_language,
        framed_by=chosen.framed_by,
    )


def _run_token(chosen: argparse.Namespace) -> int:
    from nahuo.reading_token import make_reading_token

    now_ms = time.time_ns() // 1_000_000
    print(make_reading_token(chosen.data, [*chosen.named, *chosen.documents], hours=chosen.hours, now_ms=now_ms))
    return 0


def _show(chosen: argparse.Namespace, body: dict[str, Any], words: Any) -> None:
    print(json.dumps(body, ensure_ascii=False, indent=1) if chosen.json else words())
