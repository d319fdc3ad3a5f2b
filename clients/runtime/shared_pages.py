"""The screens both clients have: sign-in, what waits, the inbox, printers, settings, and the signal switch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from clients.runtime.enrol import enrol
from clients.runtime.language import say
from clients.runtime.named import name_subjects
from clients.runtime.repair import DAMAGE
from clients.runtime.web import Done, Form, Frame, read_form
from sync_core import gate
from sync_core.errors import MalformedError, NahuoError, RefusedError
from sync_core.facts import Json
from sync_core.identity import Signer
from sync_core.payload import decode_payload

ROWS_SHOWN_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing in the inbox: an action that did not win, or work the node cannot do without a person (I14).

    `garment` names the piece as it hangs at the stall; `calm`: the person has only to know, he did nothing wrong.
    """

    id: str
    title: str
    words: str
    todo: str
    about: str
    at_ms: int
    seen: bool = False
    garment: str = ""
    calm: bool = False


class EntryList(Protocol):
    """The inbox as the screens use it."""

    def entries(self) -> list[Entry]:
        """Return all entries, unread first."""
        ...

    def seen(self, entry: str) -> None:
        """Note that a person has read an entry."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the shared screens need from their client."""

    frame: Frame
    signer: Signer
    server: str
    program: str
    printer_names: Sequence[str]
    inbox: EntryList
    home: str


def routes(shared: Shared) -> list[BaseRoute]:
    """Return the addresses of the shared screens."""
    pages = SharedPages(shared)
    inside = shared.frame.signed_in
    return [
        Route("/pulse", pages.pulse),
        Route("/sign-in", pages.sign_in_page),
        Route("/sign-in", pages.sign_in, methods=["POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        Route("/enrol", pages.enrol, methods=["POST"]),
        Route("/waiting", inside(pages.waiting)),
        Route("/damage", inside(pages.damage)),
        Route("/damage/seen", pages.damage_seen, methods=["POST"]),
        Route("/inbox", inside(pages.inbox)),
        Route("/inbox/seen", pages.inbox_seen, methods=["POST"]),
        Route("/printer", inside(pages.printer)),
        Route("/printer/answer", pages.printer_answer, methods=["POST"]),
        Route("/printer/retry", pages.printer_retry, methods=["POST"]),
        Route("/printer/choose", pages.printer_choose, methods=["POST"]),
        Route("/settings", inside(pages.settings)),
        Route("/settings/language", pages.language, methods=["POST"]),
        Route("/settings/new-key", pages.new_key, methods=["POST"]),
        Route("/control/link", pages.control_link, methods=["POST"]),
    ]


class SharedPages:
    """The endpoints of the shared screens."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._frame = shared.frame
        self._node = shared.frame.node

    # --- state ------------------------------------------------------------------------------------------------------------

    async def pulse(self, request: Request) -> Response:
        """What the page asks every second and a half: the state bar, and whether anything else changed."""
        bar = self._node.bar()
        answer: dict[str, Json] = {
            "ok": True,
            "version": self._node.version,
            "locked": self._node.sign_in.person() is None,
            "number": self._node.replica.number,
            "link": bar.link.status if bar.signal else "off",
            "link_detail": bar.link.detail,
            "signal": bar.signal,
            "waiting": bar.waiting.actions,
            "waiting_since_ms": bar.waiting.since_ms,
            "last_ack_ms": bar.link.last_ack_ms,
            "needs_person": bar.needs_person,
            "contact": bar.contact,
            "printers": {p.name: {"waiting": p.waiting, "reason": p.reason} for p in bar.printers},
            "bar": self._frame.render(request, "bar.html"),
        }
        return JSONResponse(answer)

    async def control_link(self, request: Request) -> Response:
        """The signal switch: off drops the socket and keeps the device from the network, as a basement does."""

        def run(form: Form) -> Done:
            self._node.link.enabled = form.flag("enabled")
            return Done(go=self._shared.home, answer={"enabled": self._node.link.enabled})

        return await self._frame.perform(request, run, back=self._shared.home, person_needed=False)

    async def waiting(self, request: Request) -> Response:
        """What the server has not acknowledged, oldest first."""
        total = self._node.replica.waiting().actions
        rows = self._waiting_rows()
        return self._frame.show(
            request, "waiting.html", answer={"ok": True, "total": total, "rows": list(rows)}, rows=rows, total=total
        )

    def _waiting_rows(self) -> list[dict[str, Any]]:
        language = self._frame.language()
        rows = []
        replica = self._node.replica
        for document, at_ms, stored in replica.conn.execute(
            "SELECT e.document, e.at_ms, e.stored FROM envelope e JOIN writer w USING (document, device)"
            " WHERE e.device = ? AND e.seq > w.acked ORDER BY e.n LIMIT ?",
            (replica.number, ROWS_SHOWN_MAX),
        ):
            envelope = decode_payload(stored[gate.HEADER_BYTES :])
            lines = [
                f"{say(language, f'fact.{fact.kind}')} · {name_subjects(replica, language, fact.subjects, document=document)}"
                for fact in envelope.facts
            ]
            rows.append({"at_ms": at_ms, "lines": lines})
        return rows

    async def damage(self, request: Request) -> Response:
        """What a repair saved, and what may be missing, by label numbers."""
        told = self._node.replica.setting(DAMAGE)
        if told is None:
            return self._frame.fail(request, RefusedError("damage.none", ""), back=self._shared.home)
        return self._frame.show(request, "damage.html", answer={"ok": True, **told}, damage=told)

    async def damage_seen(self, request: Request) -> Response:
        """Somebody has read it: the bar is quiet again."""

        def run(_form: Form) -> Done:
            told = self._node.replica.setting(DAMAGE, {})
            self._node.replica.set_setting(DAMAGE, {**told, "seen": True})
            return Done(go=self._shared.home, answer={"seen": True})

        return await self._frame.perform(request, run, back=self._shared.home)

    # --- inbox ------------------------------------------------------------------------------------------------------------

    async def inbox(self, request: Request) -> Response:
        """What did not win, and what the server refused."""
        entries = self._shared.inbox.entries()
        answer: dict[str, Json] = {
            "ok": True,
            "entries": [
                {
                    "id": e.id,
                    "title": e.title,
                    "garment": e.garment,
                    "words": e.words,
                    "about": e.about,
                    "calm": e.calm,
                    "seen": e.seen,
                }
                for e in entries
            ],
        }
        return self._frame.show(request, "inbox.html", answer=answer, entries=entries)

    async def inbox_seen(self, request: Request) -> Response:
        """Note that the person has read an entry; it stays readable."""

        def run(form: Form) -> Done:
            self._shared.inbox.seen(form.text("entry", length_max=200))
            return Done(go="/inbox")

        return await self._frame.perform(request, run, back="/inbox")

    # --- person -----------------------------------------------------------------------------------------------------------

    async def sign_in_page(self, request: Request) -> Response:
        """Who holds the device?"""
        people = self._node.people()
        answer: dict[str, Json] = {
            "ok": True,
            "enrolled": self._node.replica.number is not None,
            "people": [{"id": row["id"], "name": row["name"]} for row in people],
            "signed_in": (p.id if (p := self._node.sign_in.person()) else None),
        }
        enrolled = self._node.replica.number is not None
        return self._frame.show(request, "sign_in.html", answer=answer, people=people, enrolled=enrolled)

    async def sign_in(self, request: Request) -> Response:
        """Check a PIN; not inside an action's transaction, so that a wrong guess is counted although it is refused."""
        try:
            form = await read_form(request)
            person = self._node.sign_in.sign_in(
                self._node.people(), form.text("person", length_max=60), form.text("pin", length_max=12)
            )
        except NahuoError as error:
            return self._frame.fail(request, error, back="/sign-in")
        self._node.changed()
        return self._after(request, self._shared.home, {"ok": True, "person": person.id, "name": person.name})

    async def sign_out(self, request: Request) -> Response:
        """Lock the device."""
        self._node.sign_in.lock()
        self._node.changed()
        return self._after(request, "/sign-in", {"ok": True})

    async def enrol(self, request: Request) -> Response:
        """Redeem a one-time code."""
        try:
            form = await read_form(request)
            number = await enrol(
                self._node.replica,
                self._shared.signer,
                self._node.door,
                form.text("code", length_max=80),
                program=self._shared.program,
            )
        except NahuoError as error:
            return self._frame.fail(request, error, back="/sign-in")
        self._node.changed()
        return self._after(request, "/sign-in", {"ok": True, "number": number})

    def _after(self, request: Request, go: str, answer: dict[str, Json]) -> Response:
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(answer)
        return RedirectResponse(go, status_code=303)

    # --- printers ---------------------------------------------------------------------------------------------------------

    async def printer(self, request: Request) -> Response:
        """Printers and their newest labels."""
        jobs, states = self._node.printers.jobs(limit=40), self._node.printers.states()
        answer: dict[str, Json] = {
            "ok": True,
            "printers": [{"name": s.name, "waiting": s.waiting, "reason": s.reason} for s in states],
            "jobs": [
                {"id": j.id, "printer": j.printer, "code": j.subject, "state": j.state, "copy": j.copy_no} for j in jobs
            ],
        }
        addresses = {name: self._address(name) for name in self._shared.printer_names}
        return self._frame.show(request, "printer.html", answer=answer, jobs=jobs, printers=states, addresses=addresses)

    def _address(self, name: str) -> dict[str, str]:
        address, language = self._node.printers.address(name)
        way, _, rest = address.partition(":")
        return {"way": way or "tcp", "address": rest.removeprefix("//"), "language": language}

    async def printer_answer(self, request: Request) -> Response:
        """Did it come out? Yes: done. No: the same label again."""

        def run(form: Form) -> Done:
            self._node.printers.answer_unknown(form.text("job", length_max=20), came_out=form.flag("came_out"))
            return Done(go="/printer")

        return await self._frame.perform(request, run, back="/printer")

    async def printer_retry(self, request: Request) -> Response:
        """One more paper of a label: the same piece, the same code."""

        def run(form: Form) -> Done:
            self._node.printers.retry(form.text("job", length_max=20))
            return Done(go="/printer")

        return await self._frame.perform(request, run, back="/printer")

    async def printer_choose(self, request: Request) -> Response:
        """Use another printer from now on."""

        def run(form: Form) -> Done:
            way, rest = form.text("way", length_max=10), form.text("address")
            if way not in {"tcp", "ble", "file"}:
                raise MalformedError("form.choice", way)
            address = f"tcp://{rest}" if way == "tcp" else f"{way}:{rest}"
            self._node.printers.choose(form.text("printer"), address, form.text("language", default="tspl"))
            return Done(go="/printer", answer={"address": address})

        return await self._frame.perform(request, run, back="/printer")

    # --- settings ---------------------------------------------------------------------------------------------------------

    async def settings(self, request: Request) -> Response:
        """What this device is."""
        scope = self._node.scope()
        number = self._node.replica.number
        organisation, terminal = str(scope.get("organisation", "")), str(scope.get("terminal_name", ""))
        wants_key = self._node.replica.wants_key
        answer: dict[str, Json] = {
            "ok": True, "number": number, "organisation": organisation, "terminal": terminal, "wants_key": wants_key,
        }  # fmt: skip
        return self._frame.show(
            request, "settings.html", answer=answer, number=number, organisation=organisation, terminal_name=terminal,
            server=self._shared.server, wants_key=wants_key,
        )  # fmt: skip

    async def new_key(self, request: Request) -> Response:
        """Another key, and with it another number, as soon as there is a signal; work goes on meanwhile."""

        def run(_form: Form) -> Done:
            if self._node.replica.number is None:
                raise RefusedError("replica.not_enrolled", "this device is not enrolled")
            self._node.replica.ask_for_key()
            return Done(go="/settings", answer={"new_key": "asked"})

        return await self._frame.perform(request, run, back="/settings")

    async def language(self, request: Request) -> Response:
        """Chinese or English."""

        def run(form: Form) -> Done:
            chosen = form.text("language", length_max=5)
            if chosen not in {"zh", "en"}:
                raise MalformedError("form.choice", chosen)
            self._node.replica.set_setting("language", chosen)
            back = form.get("back", "/settings")
            return Done(go=back if _is_local(back) else "/settings", answer={"language": chosen})

        return await self._frame.perform(request, run, back="/settings", person_needed=False)


def _is_local(path: str) -> bool:
    """True for a path of our own: never another site, however it is written."""
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
