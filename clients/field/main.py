"""Start the field client: the picker's and the runner's phone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.routing import BaseRoute

from clients.field import recalls, screens
from clients.field.actions import CALENDAR
from clients.runtime.launch import Client, run_client
from clients.runtime.node import Node
from clients.runtime.serve import Launch
from clients.runtime.web import Frame

TABS: Final = (("/tasks", "tab.tasks"), ("/trip", "tab.trip"), ("/inbox", "tab.inbox"), ("/settings", "tab.more"))


def build(node: Node) -> tuple[Frame, list[BaseRoute]]:
    """Return the field client's frame and addresses on a node; the node learns what to watch."""
    with node.replica.transaction() as conn:
        recalls.prepare(conn)
    frame = Frame(node, folders=[Path(__file__).parent / "templates"], theme="field", tabs=TABS)
    watch = recalls.Watch(node, CALENDAR)
    node.after_change.append(watch.look)
    return frame, screens.routes(frame, watch)


CLIENT: Final = Client(word="field", printers=("label",), inbox_kinds=("task", "piece"), home="/", build=build)


def run(launch: Launch) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    return run_client(CLIENT, launch)
