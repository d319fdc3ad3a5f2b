"""`GET /api/health`: is the process there, could it write last time, and does it decide. Touches no database, no writer, no template:
it answers while everything else is busy.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from server.pages.asking import Serving

router = APIRouter()


@router.get("/api/health")
async def health(request: Request) -> JSONResponse:
    """`{"ok": true, "writing": true, "deciding": true}`: `writing` is false from a commit that failed until one that holds, `deciding` when
    it must be started again because it was put back from an older copy; the platform's page says why."""
    serving: Serving = request.app.state.serving
    return JSONResponse({"ok": True, "writing": not serving.trouble(), "deciding": not serving.store.is_overtaken})
