"""The terminal's screens: the scan box with its answer, the wall, what is ready to ship, returns, stock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from clients.runtime.language import say_error
from clients.runtime.named import name_piece
from clients.runtime.shown import read_yuan
from clients.runtime.web import Done, Form, Frame, Question, read_form
from clients.warehouse import parcels, returns_desk, scans, wall
from clients.warehouse.outcome import Outcome
from clients.warehouse.receivers import missing_keys
from sync_core.errors import MalformedError, NahuoError, RefusedError
from sync_core.facts import Json
from trade.calendar import business_day
from trade.words import PENDING_ENDS

LAST_SCANS: Final = 8
REASONS: Final = ("worn", "stained", "damaged", "wrong_garment", "incomplete")
"""Why a piece is not fit, as the terminal offers them; the words are in the table of texts."""


def routes(frame: Frame) -> list[BaseRoute]:
    """Return the addresses of the warehouse client."""
    screens = WarehouseScreens(frame)
    inside = frame.signed_in
    return [
        Route("/", inside(screens.home)),
        Route("/scan", inside(screens.scan_page)),
        Route("/scan", screens.scan, methods=["POST"]),
        Route("/swap", screens.swap, methods=["POST"]),
        Route("/waybill/reprint", screens.reprint_waybill, methods=["POST"]),
        Route("/return/unmatched", screens.unmatched, methods=["POST"]),
        Route("/return/inspect", screens.inspect, methods=["POST"]),
        Route("/return/{courier_no}", inside(screens.return_page)),
        Route("/pending/end", screens.end_pending, methods=["POST"]),
        Route("/wall", inside(screens.wall_page)),
        Route("/ship", inside(screens.ship)),
        Route("/returns", inside(screens.returns)),
        Route("/stock", inside(screens.stock)),
    ]


class WarehouseScreens:
    """The endpoints of the warehouse client; the last answers are kept in memory for the page."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._node = frame.node
        self._last: deque[tuple[str, Outcome]] = deque(maxlen=LAST_SCANS)
        self._refused: tuple[str, NahuoError] | None = None
        self._mode: scans.Mode = "door"

    async def home(self, request: Request) -> Response:  # noqa: ARG002 - the signature is Starlette's
        """The scan box is the home of a terminal."""
        return RedirectResponse("/scan", status_code=303)

    # --- the scan box -----------------------------------------------------------------------------------------------------

    async def scan_page(self, request: Request) -> Response:
        """The box, the answer to the last scan, and the last eight."""
        asked = request.query_params.get("mode", "")
        mode = next((mode for mode in scans.MODES if mode == asked), self._mode)
        language = self._frame.language()
        last = [(code, outcome, outcome.big(language), outcome.more(language)) for code, outcome in self._last]
        current = last[0] if last and self._refused is None else None
        words = ""
        if self._refused is not None:
            error = self._refused[1]
            words = getattr(error, language, None) or say_error(language, error.code, str(error))
        tone = "stop" if self._refused is not None else (current[1].tone if current else "")
        answer: dict[str, Json] = {
            "ok": True,
            "mode": mode,
            "trip": self._trip(),
            "last": [{"code": code, **outcome.as_json()} for code, outcome in self._last],
        }
        return self._frame.show(
            request, "scan.html", answer=answer, mode=mode, modes=scans.MODES, trip=self._trip(), current=current,
            last=last, refused=words, tone=tone, swap=self._swap_offer(), desk=self._desk(),
            choices=self._refused[1].choices if self._refused and isinstance(self._refused[1], Question) else (),
        )  # fmt: skip

    async def scan(self, request: Request) -> Response:
        """code, [mode door|returns|bag], [trip], [confirm] -> outcome, tone, zh, en and what it is about."""
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        code = form.get("code", "")
        asked = form.get("mode", "door")
        mode: scans.Mode | None = next((mode for mode in scans.MODES if mode == asked), None)

        def run(form: Form) -> Outcome:
            if mode is None:
                raise MalformedError("form.choice", form.get("mode", "")[:20])
            trip = form.text("trip", default=self._trip(), length_max=40)
            if mode == "bag" and trip != self._trip():
                self._node.replica.set_setting("trip", trip)
            return scans.scan(self._node, code, mode=mode, trip=trip, confirmed=form.flag("confirm"))

        self._mode = mode or self._mode
        return self._answer(request, form, run, code=code)

    async def swap(self, request: Request) -> Response:
        """first, second -> the two pieces serve each other's task (E11)."""
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        first, second = form.get("first", ""), form.get("second", "")
        return self._answer(request, form, lambda _: scans.swap(self._node, first, second), code=first)

    async def reprint_waybill(self, request: Request) -> Response:
        """parcel -> the same number on another paper."""
        form = await self._form(request)
        if isinstance(form, Response):
            return form
        return self._answer(
            request,
            form,
            lambda form: parcels.reprint_waybill(self._node, form.text("parcel")),
            code=form.get("parcel", ""),
        )

    # --- returns ----------------------------------------------------------------------------------------------------------

    async def unmatched(self, request: Request) -> Response:
        """courier_no, shelf, [sender_phone] -> a parcel nobody announced is taken in (E19)."""
        form = await self._form(request)
        if isinstance(form, Response):
            return form

        def run(form: Form) -> Outcome:
            return returns_desk.take_unmatched(
                self._node,
                form.text("courier_no", length_max=40),
                shelf=form.text("shelf", length_max=20),
                sender_phone=form.text("sender_phone", default="", length_max=20),
            )

        return self._answer(request, form, run, code=form.get("courier_no", ""))

    async def inspect(self, request: Request) -> Response:
        """return, piece, passed 1|0, [reason] -> stock and a return label, or the pending area."""
        form = await self._form(request)
        if isinstance(form, Response):
            return form

        def run(form: Form) -> Outcome:
            return returns_desk.inspect(
                self._node,
                form.text("return", length_max=40),
                form.text("piece"),
                passed=form.flag("passed"),
                reason=form.text("reason", default="", length_max=200),
            )

        back = f"/return/{form.get('return', '')}" if form.get("return", "").isalnum() else "/returns"
        return self._answer(request, form, run, code=form.get("piece", ""), go=back)

    async def return_page(self, request: Request) -> Response:
        """One returned parcel: each piece with a button for fit and one for not fit."""
        courier_no = request.path_params["courier_no"]
        state = wall.read_return(self._node, courier_no)
        if state is None:
            return self._frame.fail(request, RefusedError("return.unknown", courier_no[:40]), back="/returns")
        return self._frame.show(request, "return.html", answer={"ok": True, **state}, state=state, reasons=REASONS)

    async def end_pending(self, request: Request) -> Response:
        """piece, outcome, [fee], [payer] -> where an unfit piece ended."""
        form = await self._form(request)
        if isinstance(form, Response):
            return form

        def run(form: Form) -> Outcome:
            fee = form.text("fee", default="", length_max=12)
            return returns_desk.end_pending(
                self._node,
                form.text("piece"),
                outcome=form.text("outcome", length_max=30),
                fee_fen=read_yuan(fee) if fee else 0,
                payer=form.text("payer", default="merchant", length_max=20),
            )

        return self._answer(request, form, run, code=form.get("piece", ""), go="/returns")

    # --- lists ------------------------------------------------------------------------------------------------------------

    async def wall_page(self, request: Request) -> Response:
        """The cells with what lies in them, and the labels that wait for their phone."""
        orders = [
            order
            for order in self._orders()
            if order.cell and not order.state["shipped"] and order.view.arrived and order.parcel_state["packed"] is None
        ]
        orders.sort(key=lambda order: (order.view.stop is None, not order.view.complete, order.cell))
        unheard = [(c, s) for c, s in self._pieces("inbound", "in_cell") if s["unexplained"]]
        waiting = [(code, state) for code, state in unheard if state["waiting_for_phone"]]
        answer: dict[str, Json] = {
            "ok": True,
            "cells": [
                {"cell": o.cell, "order": o.id, "count": o.count, "complete": o.view.complete, "stop": o.view.stop}
                for o in orders
            ],
            "tasks": len(self._node.replica.states("task", self._document())) if self._document() else 0,
            "waiting_for_phone": [code for code, _ in waiting],
            "unexplained": [code for code, _ in unheard],
        }
        return self._frame.show(
            request,
            "wall.html",
            answer=answer,
            orders=orders,
            waiting=waiting,
            unheard=unheard,
            own=self._node.own_numbers(),
        )

    async def ship(self, request: Request) -> Response:
        """Packed and not shipped; and what is complete but parked, with the reason."""
        own = self._node.own_numbers()
        ready: list[tuple[wall.Order, str | None]] = []
        parked: list[tuple[wall.Order, str]] = []
        missing = set(missing_keys(self._node))
        for order in self._orders():
            if order.state["shipped"] or order.parcel_state["shipped"]:
                continue
            if order.parcel_state["packed"] is not None:
                ready.append((order, order.stop(own)))
            elif order.view.complete:
                if order.view.stop is not None:
                    parked.append((order, order.view.stop))
                    continue
                why = order.parcel_state["held"] or ("no_key" if order.parcel in missing else "scan_again")
                if order.parcel_state["waybill"] is None and order.parcel_state["held"] is None:
                    why = "no_number"
                parked.append((order, why))
        answer: dict[str, Json] = {
            "ok": True,
            "ready": [
                {"parcel": o.parcel, "waybill_no": (o.parcel_state["waybill"] or {}).get("waybill_no"), "stop": stop}
                for o, stop in ready
            ],
            "parked": [{"order": o.id, "why": why, "pieces": list(o.view.codes)} for o, why in parked],
            "keys_missing": [*sorted(missing)],
        }
        return self._frame.show(request, "ship.html", answer=answer, ready=ready, parked=parked)

    async def returns(self, request: Request) -> Response:
        """Announced, received, pending."""
        document = self._document()
        rows = [state for _, _, state in self._node.replica.states("return", document)] if document else []
        rows.sort(
            key=lambda state: (state["received"] and all(r["verdict"] for r in state["pieces"]), state["courier_no"])
        )
        pending = self._pieces("pending")
        answer: dict[str, Json] = {
            "ok": True,
            "returns": [
                {"return": r["courier_no"], "received": r["received"], "pieces": [p["piece"] for p in r["pieces"]]}
                for r in rows
            ],
            "pending": [code for code, _ in pending],
        }
        return self._frame.show(
            request, "returns.html", answer=answer, rows=rows, pending=pending, ends=tuple(PENDING_ENDS),
            name_piece=self._name_piece,
        )  # fmt: skip

    async def stock(self, request: Request) -> Response:
        """What lies on the shelves, and which of it is wanted."""
        rows = self._pieces("in_stock")
        wanted = wall.stock_tasks(self._node) if self._document() else []
        with_runner = self._pieces("with_runner")
        answer: dict[str, Json] = {
            "ok": True,
            "stock": [code for code, _ in rows],
            "wanted": [{"task": task, "piece": state["assigned"]["piece"]} for task, state in wanted],
            "with_runner": [code for code, _ in with_runner],
        }
        return self._frame.show(
            request, "stock.html", answer=answer, rows=rows, wanted=wanted, with_runner=with_runner,
            name_piece=self._name_piece,
        )  # fmt: skip

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _form(self, request: Request) -> Form | Response:
        try:
            return await read_form(request)
        except MalformedError as error:
            return self._frame.fail(request, error, back="/scan")

    def _answer(
        self, request: Request, form: Form, run: Callable[[Form], Outcome], *, code: str, go: str = "/scan"
    ) -> Response:
        """Run an action once and show its outcome on the scan page; a refusal is shown there too, in red."""
        kept: list[Outcome] = []

        def once(form: Form) -> Done:
            outcome = run(form)
            kept.append(outcome)
            return Done(go=go, answer=outcome.as_json())

        response = self._frame.perform_form(
            request, form, once, back=go, refused=lambda error: self._note_refusal(code, error)
        )
        if kept and response.status_code in (200, 303):
            self._refused = None
            self._last.appendleft((code, kept[0]))
        return response

    def _note_refusal(self, code: str, error: NahuoError) -> Response:
        self._refused = (code, error)
        return RedirectResponse("/scan", status_code=303)

    def _swap_offer(self) -> tuple[str, str] | None:
        """The last two labels, when both lie here: two bags with each other's label are put right by one tap (E11)."""
        here = ("in_cell", "already_in", "carry", "complete_waits", "to_stock")
        codes = [str(o.answer["piece"]) for _, o in list(self._last)[:2] if o.word in here and o.answer.get("piece")]
        return (codes[0], codes[1]) if len(codes) > 1 and codes[0] != codes[1] else None

    def _desk(self) -> dict[str, object] | None:
        """The returned parcel of the last scan, to inspect on the spot."""
        if not self._last or self._last[0][1].answer.get("return") is None:
            return None
        return wall.read_return(self._node, str(self._last[0][1].answer["return"]))

    def _trip(self) -> str:
        """The bag that is being filled: its own name until somebody starts another."""
        day = business_day(self._node.clock.wall_ms(), returns_desk.CALENDAR)
        return str(self._node.replica.setting("trip") or f"{day}-bag-{self._node.replica.number or 0}")

    def _document(self) -> str | None:
        documents = self._node.documents("warehouse")
        return documents[-1] if documents else None

    def _orders(self) -> list[wall.Order]:
        return wall.read_orders(self._node) if self._document() else []

    def _name_piece(self, state: wall.State) -> str:
        return name_piece(self._node.replica, state)

    def _pieces(self, *places: str) -> list[tuple[str, wall.State]]:
        return wall.pieces_in(self._node, *places) if self._document() else []
