"""The picker's and the runner's screens: what is shown, and which form calls which action."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from clients.field import actions, returns
from clients.field.recalls import Watch
from clients.field.tasks import Group, Task, find_task, find_tasks, here_now, read_tasks, stall_names, walk
from clients.runtime.shown import read_yuan
from clients.runtime.web import Done, Form, Frame
from sync_core.errors import NahuoError
from sync_core.facts import Json
from trade import kinds
from trade.walk import walk_key

ANSWERS: Final = tuple(answer.value for answer in kinds.Answer)
MEANS: Final = tuple(means.value for means in kinds.Means)
REFUSALS: Final = ("smell", "tag_missing", "altered", "term_past", "price_fell", "denies", "unfit", "other")
THEN: Final = ("keep_trying", "bring_back", "left_at_stall", "written_off")


def routes(frame: Frame, watch: Watch) -> list[BaseRoute]:
    """Return the addresses of the field client."""
    screens = FieldScreens(frame, watch)
    inside = frame.signed_in
    return [
        Route("/", inside(screens.home)),
        Route("/tasks", inside(screens.tasks)),
        Route("/task/{task}", inside(screens.task)),
        Route("/buy", screens.buy, methods=["POST"]),
        Route("/ask", screens.ask, methods=["POST"]),
        Route("/bounce", screens.bounce, methods=["POST"]),
        Route("/answer", screens.answer, methods=["POST"]),
        Route("/undo", screens.undo, methods=["POST"]),
        Route("/correct", screens.correct, methods=["POST"]),
        Route("/reprint", screens.reprint, methods=["POST"]),
        Route("/trip", inside(screens.trip)),
        Route("/trip/find", screens.trip_find, methods=["POST"]),
        Route("/trip/refund", screens.refund, methods=["POST"]),
        Route("/trip/refuse", screens.refuse, methods=["POST"]),
        Route("/trip/{piece}", inside(screens.trip_piece)),
    ]


class FieldScreens:
    """The endpoints of the field client."""

    def __init__(self, frame: Frame, watch: Watch) -> None:
        self._frame = frame
        self._node = frame.node
        self._watch = watch

    async def home(self, request: Request) -> Response:  # noqa: ARG002 - the signature is Starlette's
        """A runner begins with his bag, everybody else with the tasks."""
        runs_only = self._node.documents("trip") and not self._node.documents("route")
        return RedirectResponse("/trip" if runs_only else "/tasks", status_code=303)

    # --- the picker -------------------------------------------------------------------------------------------------------

    async def tasks(self, request: Request) -> Response:
        """Today's tasks in walking order; `q` searches."""
        late = frozenset(self._node.replica.setting("late_tasks", []))
        tasks = read_tasks(self._node, late)
        query = request.query_params.get("q", "")[:60]
        shown = find_tasks(query, tasks) if query.strip() else tasks
        stalls = walk(shown, here=here_now(self._node), names=stall_names(self._node))
        self._watch.shown(shown)
        mine = [task for task in tasks if task.mine]
        counts = {
            "open": sum(1 for task in mine if task.is_open),
            "bought": sum(1 for task in mine if task.status == "bought"),
            "all": len(mine),
        }
        answer: dict[str, Json] = {
            "ok": True,
            "counts": dict(counts),
            "tasks": [_task_json(task) for stall in stalls for group in stall.groups for task in group.tasks],
        }
        return self._frame.show(
            request, "tasks.html", answer=answer, stalls=stalls, query=query, counts=counts,
            last=actions.last_action(self._node), means_of=self._means_of,
        )  # fmt: skip

    async def task(self, request: Request) -> Response:
        """One task with all that can be done about it and its line."""
        try:
            task = self._find(request.path_params["task"])
        except NahuoError as error:
            return self._frame.fail(request, error, back="/tasks")
        late = frozenset(self._node.replica.setting("late_tasks", []))
        line = [
            other
            for other in read_tasks(self._node, late)
            if (other.document, other.assigned["line"], other.assigned["order_no"])
            == (task.document, task.assigned["line"], task.assigned["order_no"])
        ]
        key = (task.status, task.state["cap_fen"], task.is_open, task.place)
        same = [o for o in line if (o.status, o.state["cap_fen"], o.is_open, o.place) == key]
        same.sort(key=lambda other: (other.assigned["copy_no"], other.id))
        group = Group(tasks=tuple(same))
        self._watch.shown(group.tasks)
        return self._frame.show(
            request, "task.html", answer={"ok": True, **_task_json(task)}, task=task, group=group, line=line,
            answers=ANSWERS, means=MEANS, keyed=self._keyed(request, task, len(same)),
            none_first=request.query_params.get("none") == "1",
        )  # fmt: skip

    async def buy(self, request: Request) -> Response:
        """tasks, [count], [price], [means], [confirm], [recall_shown], [late_shown] -> pieces, facts, jobs."""

        def run(form: Form) -> Done:
            shown = form.get("recall_shown")
            tap = actions.Tap(
                recall_shown=None if shown is None else shown == "1",
                late_confirmed=form.flag("late_shown"),
                price_confirmed=form.flag("confirm"),
            )
            done = actions.buy(
                self._node,
                tasks=_chosen(form),
                price_fen=_price(form, "price"),
                means=form.text("means", default="") or None,
                tap=tap,
            )
            return Done(go="/tasks", answer=done)

        return await self._frame.perform(request, run, back="/tasks")

    async def ask(self, request: Request) -> Response:
        """tasks, [count], price -> facts: the merchant decides about the price."""

        def run(form: Form) -> Done:
            done = actions.ask(self._node, tasks=_chosen(form), price_fen=read_yuan(form.text("price")))
            return Done(go="/tasks", answer=done)

        return await self._frame.perform(request, run, back="/tasks")

    async def bounce(self, request: Request) -> Response:
        """tasks, [count], price -> facts: the order goes back to the merchant."""

        def run(form: Form) -> Done:
            done = actions.bounce(self._node, tasks=_chosen(form), price_fen=read_yuan(form.text("price")))
            return Done(go="/tasks", answer=done)

        return await self._frame.perform(request, run, back="/tasks")

    async def answer(self, request: Request) -> Response:
        """tasks, [count], answer, [on_day], [note] -> facts: why the stall does not sell it now."""

        def run(form: Form) -> Done:
            done = actions.answer(
                self._node,
                tasks=_chosen(form),
                answer=form.text("answer", length_max=20),
                on_day=form.text("on_day", default="", length_max=10) or None,
                note=form.text("note", default=""),
            )
            return Done(go="/tasks", answer=done)

        return await self._frame.perform(request, run, back="/tasks")

    async def undo(self, request: Request) -> Response:
        """[task] -> facts: the last action, or the purchase of one task, was a mistake."""

        def run(form: Form) -> Done:
            return Done(go="/tasks", answer=actions.undo(self._node, task=form.text("task", default="") or None))

        return await self._frame.perform(request, run, back="/tasks")

    async def correct(self, request: Request) -> Response:
        """piece, price, [confirm] -> facts: the price was keyed wrong."""

        def run(form: Form) -> Done:
            done = actions.correct_price(
                self._node,
                piece=form.text("piece"),
                price_fen=read_yuan(form.text("price")),
                confirmed=form.flag("confirm"),
            )
            return Done(go="/tasks", answer=done)

        return await self._frame.perform(request, run, back="/tasks")

    async def reprint(self, request: Request) -> Response:
        """piece -> facts, job, copy: another label of the same piece."""

        def run(form: Form) -> Done:
            return Done(go="/tasks", answer=actions.reprint(self._node, piece=form.text("piece")))

        return await self._frame.perform(request, run, back="/tasks")

    # --- the runner -------------------------------------------------------------------------------------------------------

    async def trip(self, request: Request) -> Response:
        """The bag: pieces by stall in walking order, the shortest term first."""
        bag = returns.read_bag(self._node)
        here = here_now(self._node)
        stalls: dict[str, list[returns.BagPiece]] = {}
        for piece in bag:
            stalls.setdefault(piece.place.stall_id, []).append(piece)
        ordered = sorted(
            stalls.values(), key=lambda rows: (not any(p.is_open for p in rows), walk_key(rows[0].place, here))
        )
        answer: dict[str, Json] = {"ok": True, "pieces": [_bag_json(piece) for piece in bag]}
        return self._frame.show(
            request, "trip.html", answer=answer, stalls=ordered, left=sum(1 for p in bag if p.is_open)
        )

    async def trip_piece(self, request: Request) -> Response:
        """At the stall: what was paid, by whom, when and where (R59), and the two ends."""
        try:
            piece = returns.find_in_bag(self._node, request.path_params["piece"])
        except NahuoError as error:
            return self._frame.fail(request, error, back="/trip")
        return self._frame.show(
            request, "trip_piece.html", answer={"ok": True, **_bag_json(piece)}, piece=piece, means=MEANS,
            reasons=REFUSALS, thens=THEN,
        )  # fmt: skip

    async def trip_find(self, request: Request) -> Response:
        """code -> the piece's page."""

        def run(form: Form) -> Done:
            piece = returns.find_in_bag(self._node, form.text("code"))
            return Done(go=f"/trip/{piece.code}", answer={"piece": piece.code})

        return await self._frame.perform(request, run, back="/trip")

    async def refund(self, request: Request) -> Response:
        """piece, [received], [means], [confirm] -> facts: the stall gave money back."""

        def run(form: Form) -> Done:
            done = returns.refund(
                self._node,
                piece=form.text("piece"),
                received_fen=_price(form, "received"),
                means=form.text("means", default="") or None,
                confirmed=form.flag("confirm"),
            )
            return Done(go="/trip", answer=done)

        return await self._frame.perform(request, run, back="/trip")

    async def refuse(self, request: Request) -> Response:
        """piece, reason, then, [note] -> facts: the stall did not take it back."""

        def run(form: Form) -> Done:
            done = returns.refuse(
                self._node,
                piece=form.text("piece"),
                reason=form.text("reason", length_max=20),
                then=form.text("then", length_max=20),
                note=form.text("note", default=""),
            )
            return Done(go="/trip", answer=done)

        return await self._frame.perform(request, run, back="/trip")

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _find(self, task: str) -> Task:
        return find_task(self._node, task, frozenset(self._node.replica.setting("late_tasks", [])))

    def _keyed(self, request: Request, task: Task, count_max: int) -> dict[str, Any]:
        """What the price pad starts with: what was keyed before a question, when the person comes back from it."""
        asked = request.query_params
        count, means = asked.get("count", ""), asked.get("means", "")
        known = count.isascii() and count.isdigit() and len(count) < 3 and 1 <= int(count) <= count_max
        return {
            "price": asked.get("price", "")[:12],
            "count": int(count) if known else count_max,
            "means": means if means in MEANS else self._means_of(task),
        }

    def _means_of(self, task: Task) -> str:
        return actions.default_means(self._node, task.place.stall_id)


def _chosen(form: Form) -> list[str]:
    """Return the tasks of a form: the first `count` of them, all without a count (E5)."""
    tasks = [task.strip() for task in form.text("tasks", length_max=2_000).split(",") if task.strip()]
    return tasks[: form.whole("count", default=len(tasks), at_least=1, at_most=actions.PIECES_AT_ONCE_MAX)]


def _price(form: Form, name: str) -> int | None:
    text = form.text(name, default="", length_max=12)
    return read_yuan(text) if text else None


def _task_json(task: Task) -> dict[str, Json]:
    body = task.assigned
    purchase = task.purchase()
    return {
        "task": task.id,
        "document": task.document,
        "status": task.status,
        "mine": task.mine,
        "open": task.is_open,
        "late": task.late,
        "recalled": task.state["recall"] is not None,
        "stall": task.place.stall_id,
        "line": body["line"],
        "order_no": body["order_no"],
        "style": body["style"],
        "colour": body["colour"],
        "size": body["size"],
        "quote_fen": body["quote_fen"],
        "cap_fen": task.state["cap_fen"],
        "drop_ship": body["drop_ship"],
        "piece": purchase["piece"] if purchase else None,
        "paid_fen": purchase["price_fen"] if purchase else None,
    }


def _bag_json(piece: returns.BagPiece) -> dict[str, Json]:
    garment = piece.garment
    return {
        "piece": piece.code,
        "place": piece.state["place"],
        "open": piece.is_open,
        "stall": piece.place.stall_id,
        "paid_fen": garment["paid_fen"],
        "picker": garment["picker"],
        "bought_at_ms": garment["bought_at_ms"],
        "days_left": piece.days_left,
    }
