"""`nahuo import`: leave a shop's order files for the server of a folder, wait for what it says, and show it.

The files go into one durable command, byte for byte; the authority alone reads them. A wrong file stores nothing.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from nahuo.data_folder import SERVER_DATABASE, look_at
from server import schema_trade as st
from server.commands import OrderFile, OrdersImport, outcome, submit
from server.store import Store, open_store
from sync_core.errors import RefusedError

FILE_BYTES_MAX: Final = 20 * 1024 * 1024
"""A month of a large shop is 5 MB."""
FILES_MAX: Final = 10
WAIT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
PROBLEMS_SHOWN_MAX: Final = 50
_COUNTS: Final = {
    "new": "orders new", "changed": "changed", "unchanged": "as before", "skipped": "passed over (unpaid, closed or shipped)",
}  # fmt: skip


def import_files(
    data: Path, *, shop: str, files: Sequence[Path], database: str | None = None, wait_seconds: float = WAIT_SECONDS
) -> int:
    """Import `files` for `shop`; print what became of them and return the exit code: 1 when the server refused.

    Raises:
        RefusedError: the folder is no server's, or a file cannot be read.
    """
    if database is None:
        folder = look_at(data)
        if folder.kind != "server":
            raise RefusedError("import.folder", f"{data} is a client's folder: name the server's")
    command = OrdersImport(shop=shop, files=_read(files))
    store = open_store(database or data / SERVER_DATABASE)
    try:
        number = submit(store, command, by="cli", now_ms=time.time_ns() // 1_000_000)
        result = _wait(store, number, wait_seconds)
        shops = _shops(store) if result is not None and result.get("code") == "shop.unknown" else None
    finally:
        store.close()
    if result is None:
        print(
            f"left for the server as command {number}: it reads the files when it runs (nahuo server --data {data});"
            " the page of imports tells what became of them"
        )
        return 0
    print("\n".join(show_outcome(result)))
    if shops is not None:
        print(
            f"the shops are: {', '.join(shops)}" if shops else "there is no shop yet: make one on the merchant's page"
        )
    return 0 if result.get("ok") else 1


def _shops(store: Store) -> list[str]:
    """Return the shops by name; told here only, to whoever has the server's folder: a merchant sees nobody else's (D20)."""
    with store.reading() as conn:
        return list(conn.execute(select(st.shop.c.name).order_by(st.shop.c.name)).scalars())


def show_outcome(result: Mapping[str, Any]) -> list[str]:
    """Return the outcome of an import as lines: the counts, then each problem with file, row, column and fix."""
    problems = [one for one in result.get("problems", ()) if isinstance(one, Mapping)]
    if result.get("ok"):
        counts = [f"{result.get(name, 0)} {word}" for name, word in _COUNTS.items()]
        lines = [", ".join(counts)]
    else:
        why = result.get("message") or result.get("code") or "the files are wrong"
        lines = ["nothing was imported, for:" if problems else f"nothing was imported: {why}"]
    for one in problems[:PROBLEMS_SHOWN_MAX]:
        place = ", ".join(f"{word} {one[key]}" for word, key in (("row", "row"), ("column", "column")) if one.get(key))
        where = f"{one.get('file', '')}{': ' + place if place else ''}"
        fix = f" -> {one['fix_en']}" if one.get("fix_en") else ""
        lines.append(f"  {where}: {one.get('en') or one.get('zh') or ''}{fix}")
    if len(problems) > PROBLEMS_SHOWN_MAX:
        lines.append(f"  … and {len(problems) - PROBLEMS_SHOWN_MAX} more")
    return lines


def _read(files: Sequence[Path]) -> list[OrderFile]:
    if len(files) > FILES_MAX:
        raise RefusedError("import.files", f"at most {FILES_MAX} files at once")
    read = []
    for path in files:
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise RefusedError(
                    "import.too_large", f"{path} is larger than {FILE_BYTES_MAX // 1024 // 1024} MB: split it by days"
                )
            content = path.read_bytes()
        except OSError as error:
            raise RefusedError("import.file", f"{path} cannot be read: {error.strerror}") from error
        read.append(OrderFile(name=path.name, content=base64.b64encode(content).decode()))
    return read


def _wait(
    store: Store, number: int, seconds: float, *, pause: Callable[[float], None] = time.sleep
) -> dict[str, Any] | None:
    until = time.monotonic() + seconds
    while (result := outcome(store, number)) is None and time.monotonic() < until:
        pause(POLL_SECONDS)
    return result
