"""`GET /api/health`: is the process there. Touches no database, no writer, no template: it answers while everything else is busy."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

router = APIRouter()


@router.get("/api/health")
async def health() -> JSONResponse:
    """`{"ok": true}`."""
    return JSONResponse({"ok": True})
