"""One request of a signed-in person: who asks, what he may reach, and how he is answered.

Route functions take `Asking` from one of the dependencies `anybody`, `merchant`, `platform`, `admin`; without one of them there
is no page. `follow` gives a command to the writer and goes on to the page that shows its outcome.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Request
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server.auth import Account, Accounts, SignedIn, WebRole, form_token
from server.pages import frame, reads_platform
from server.pages.frame import NotAllowedError, SignInNeededError
from server.store import Store

Answered = TypeVar("Answered")

OUTCOME_WAIT_MS = 2_000
"""How long a form waits for its command; the writer's turn lasts a few milliseconds, a burst of phones some hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What became of a command, in words for a person. `state` is `done`, `refused`, `waiting` or `gone`."""

    command: int
    state: str
    code: str = ""
    zh: str = ""
    en: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


class Serving(Protocol):
    """What pages need of the running server; `app.py` brings it."""

    accounts: Accounts
    store: Store
    reports: Mapping[int, Mapping[str, Any]]

    def clock_ms(self) -> int:
        """The instant."""
        ...

    @property
    def zone_name(self) -> str:
        """The platform's time zone."""
        ...

    async def carry_out(self, command: Any, *, by: str) -> Shown:
        """Leave a command for the writer and wait a while for its outcome."""
        ...

    def outcome(self, command: int, *, by: str) -> Shown | None:
        """What became of a command of that person; nobody else's."""
        ...

    def connected(self) -> frozenset[int]:
        """The devices whose link is up now; on the event loop only."""
        ...

    def trouble(self) -> str:
        """Why the server could not write last time; empty while all is well."""
        ...

    def navigation(self, account: Account) -> list[frame.Entry]:
        """The main menu of an account, with what waits for him."""
        ...

    def organisation_name(self, account: Account) -> str:
        """What stands beside the mark on the top of his pages."""
        ...


@dataclass(slots=True)
class Asking:
    """A request, its session if any, and the server."""

    request: Request
    serving: Serving
    session: SignedIn | None
    now_ms: int
    connected: frozenset[int] = frozenset()
    """Devices whose link is up, as the event loop saw it when the request came."""

    @property
    def account(self) -> Account:
        """Who is signed in.

        Raises:
            SignInNeededError: nobody.
        """
        if self.session is None:
            raise SignInNeededError
        return self.session.account

    @property
    def organisation(self) -> str:
        """The merchant (or `platform`) all reads of this request are limited to."""
        return self.account.organisation

    @property
    def lang(self) -> str:
        """`zh` or `en`."""
        return frame.language(self.request)

    def t(self, zh: str, en: str) -> str:
        """The text in the asker's language."""
        return zh if self.lang == "zh" else en

    @property
    def zone(self) -> dt.tzinfo:
        """The time zone pages show."""
        return frame.zone_of(self.serving.zone_name)

    def show(self, template: str, *, http_status: int = 200, **values: Any) -> Response:
        """Answer with a page; a `?done=` in the address puts that command's outcome on top of it."""
        known: dict[str, Any] = {}
        if self.session is not None:
            here = self.request.url.path
            entries = self.serving.navigation(self.account)
            best = max((entry.path for entry in entries if _under(here, entry.path)), key=len, default="")
            known["navigation"] = [
                frame.Entry(path=entry.path, zh=entry.zh, en=entry.en, count=entry.count, current=entry.path == best)
                for entry in entries
            ]
            known["organisation_name"] = self.serving.organisation_name(self.account)
            done = self.request.query_params.get("done", "")
            if done.isascii() and done.isdigit() and len(done) < 16:
                known["outcome"] = self.serving.outcome(int(done), by=self.author)
                if known["outcome"] is not None and known["outcome"].state == "waiting":
                    known["refresh_s"] = 2
        html = frame.render(
            template,
            self.request,
            zone=self.zone,
            zone_name=self.serving.zone_name,
            now_ms=self.now_ms,
            **{**known, **values},
        )
        answer = frame.answer_page(html, http_status)
        new_guest = getattr(self.request.state, "new_guest", None)
        if new_guest is not None:
            set_cookie(answer, self.request, "nahuo_guest", new_guest)
        return answer

    @property
    def author(self) -> str:
        """How commands and facts name the person who gave them."""
        account = self.account
        return f"platform:{account.name}" if account.of_platform else f"merchant:{account.organisation}:{account.name}"

    def instant(self, at_ms: int) -> str:
        """An instant whole, in the pages' zone: `2026-11-22 20:53:01`."""
        return dt.datetime.fromtimestamp(at_ms / 1000, tz=self.zone).strftime("%Y-%m-%d %H:%M:%S")

    def devices(self, conn: Connection) -> list[dict[str, Any]]:
        """All devices with their lag, as of this request."""
        return reads_platform.devices(conn, self.now_ms, connected=self.connected, reports=self.serving.reports)

    async def follow(self, command: Any, path: str) -> Response:
        """Carry out a command, then go on to `path` which shows the outcome; programs get it as JSON."""
        shown = await self.serving.carry_out(command, by=self.author)
        return self.tell(shown, path)

    def tell(self, shown: Shown, path: str) -> Response:
        """Answer with what became of a command."""
        if frame.wants_json(self.request):
            status = {"done": 200, "waiting": 202}.get(shown.state, 409)
            told = {"command": shown.command, "state": shown.state, "code": shown.code, "zh": shown.zh, "en": shown.en}
            return frame.as_json({**told, "result": dict(shown.result)}, status)
        return frame.go_to(frame.with_query(path, done=shown.command))

    async def read(self, query: Callable[..., Answered], *args: Any, **named: Any) -> Answered:
        """Run a blocking read from an asynchronous route."""
        return await run_in_threadpool(query, *args, **named)


def set_cookie(answer: Response, request: Request, name: str, value: str) -> None:
    """A cookie no script reads, no other site sends; `Secure` when we are on https."""
    answer.set_cookie(name, value, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/")


def _under(here: str, path: str) -> bool:
    return here == path or here.startswith(path.rstrip("/") + "/")


async def find_session(request: Request) -> Asking:
    """Return the asker; forms are checked here, so no route can forget it."""
    serving: Serving = request.app.state.serving
    now_ms = serving.clock_ms()
    token = frame.bearer(request) or request.cookies.get(frame.SESSION_COOKIE, "")
    session = await run_in_threadpool(serving.accounts.session, token, now_ms=now_ms) if token else None
    request.state.session = session
    if session is None:
        request.state.guest_form_token = frame.guest_form_token(request)
        if not request.state.guest_form_token:
            request.state.new_guest = secrets.token_urlsafe(24)
            request.state.guest_form_token = form_token(request.state.new_guest)
    if request.method == "POST":
        frame.check_form(await request.form(), request)
    return Asking(request, serving, session, now_ms, serving.connected())


Anybody = Annotated[Asking, Depends(find_session)]


def _only(*roles: WebRole) -> Callable[[Asking], Awaitable[Asking]]:
    allowed = frozenset(roles)

    async def check(asking: Anybody) -> Asking:
        if asking.account.role not in allowed:
            raise NotAllowedError("role")
        return asking

    return check


SignedInAsking = Annotated[Asking, Depends(_only(*WebRole))]
Merchant = Annotated[Asking, Depends(_only(WebRole.MERCHANT_OWNER, WebRole.MERCHANT_CLERK))]
MerchantOwner = Annotated[Asking, Depends(_only(WebRole.MERCHANT_OWNER))]
Platform = Annotated[Asking, Depends(_only(WebRole.ADMIN, WebRole.CLERK))]
Admin = Annotated[Asking, Depends(_only(WebRole.ADMIN))]
