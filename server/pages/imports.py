"""Importing order files on a page: the files go into a command as they came, the authority reads them, errors come back as a table."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, UploadFile
from starlette.responses import Response

from server import commands
from server.pages import frame
from server.pages import reads_orders as reads
from server.pages.asking import Asking, Merchant, Platform, Shown
from server.pages.form_reading import make
from server.pages.outcomes import show_outcome
from server.pages.problems import NotFoundError

router = APIRouter()

IMPORT_PATHS = ("/merchant/import", "/platform/import")
FILES_MAX = 10


@router.get("/merchant/import")
def import_page(asking: Merchant, command: int = 0) -> Response:
    """The form, what became of an import, and the list of those before."""
    return _page(asking, command)


@router.get("/platform/import")
def platform_import_page(asking: Platform, command: int = 0) -> Response:
    """The platform imports for any shop."""
    return _page(asking, command)


@router.post("/merchant/import")
async def import_files(
    asking: Merchant, shop: Annotated[str, Form(max_length=60)], files: Annotated[list[UploadFile], File()]
) -> Response:
    """Import a merchant's own order files."""
    return await _import(asking, shop, files)


@router.post("/platform/import")
async def platform_import_files(
    asking: Platform, shop: Annotated[str, Form(max_length=60)], files: Annotated[list[UploadFile], File()]
) -> Response:
    """Import order files of any shop."""
    return await _import(asking, shop, files)


async def _import(asking: Asking, shop: str, files: list[UploadFile]) -> Response:
    if not any(row["name"] == shop for row in await asking.read(_shops, asking)):
        raise NotFoundError
    sent = [
        make(
            commands.OrderFile,
            name=(file.filename or "?").replace("\\", "/").rpartition("/")[2][:200],
            content=base64.b64encode(await file.read()).decode(),
        )
        for file in files[: FILES_MAX + 1]
    ]
    path = _path(asking)
    shown = await asking.serving.carry_out(make(commands.OrdersImport, shop=shop, files=sent), by=asking.author)
    if frame.wants_json(asking.request):
        return asking.tell(shown, path)
    return frame.go_to(frame.with_query(path, command=shown.command))


def _page(asking: Asking, command: int) -> Response:
    merchant = None if asking.account.of_platform else asking.organisation
    with asking.serving.store.reading() as conn:
        earlier = [_summary(row) for row in reads.imports(conn, merchant)]
        asked = next(iter(reads.imports(conn, merchant, command=command)), None) if command > 0 else None
    shown: Shown | None = None
    report: dict[str, Any] | None = None
    if asked is not None:
        shown = show_outcome(command, commands.OrdersImport.KIND, asked["outcome"])
        report = report_of(shown.result, refused=shown.state != "done", zh=shown.zh, en=shown.en)
    elif command > 0:
        shown = asking.serving.outcome(command, by=asking.author)
    waiting = report is None and shown is not None and shown.state == "waiting"
    return asking.show(
        "merchant/import.html", path=_path(asking), shops=_shops(asking), chosen=("" if asked is None else asked["shop"]),
        report=report, earlier=earlier, asked=command, outcome=shown if waiting else None, refresh_s=2 if waiting else 0,
    )  # fmt: skip


def _summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the list says of an import: the counts, whether it was refused, and who gave it."""
    outcome = row["outcome"]
    report = report_of(outcome, refused=not outcome.get("ok"))
    return {**row, **report, "from_machine": row["by"] == "cli"}


def report_of(result: Mapping[str, Any], *, refused: bool, zh: str = "", en: str = "") -> dict[str, Any]:
    """Return what the page shows of an import: counts, and each problem with file, row, column, what and fix."""
    problems = [dict(one) for one in result.get("problems", ()) if isinstance(one, Mapping)]
    for one in problems:
        for key in ("file", "row", "column", "zh", "en", "fix_zh", "fix_en"):
            one.setdefault(key, "")
    if refused and not problems:
        problems = [{"file": "", "row": "", "column": "", "zh": zh, "en": en, "fix_zh": "", "fix_en": ""}]
    counts = {key: result.get(key, 0) for key in ("new", "unchanged", "changed", "skipped")}
    return {**counts, "problems": problems, "refused": refused}


def _shops(asking: Asking) -> list[dict[str, Any]]:
    with asking.serving.store.reading() as conn:
        return reads.shops(conn, None if asking.account.of_platform else asking.organisation)


def _path(asking: Asking) -> str:
    return "/platform/import" if asking.account.of_platform else "/merchant/import"
