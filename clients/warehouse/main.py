"""Start the warehouse client: a terminal with a scanner, a label printer and a waybill printer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.routing import BaseRoute

from clients.runtime.launch import Client, run_client
from clients.runtime.node import Node
from clients.runtime.serve import Launch
from clients.runtime.web import Frame
from clients.warehouse import receivers, screens, wall

TABS: Final = (
    ("/scan", "tab.scan"),
    ("/wall", "tab.wall"),
    ("/ship", "tab.ship"),
    ("/returns", "tab.returns"),
    ("/stock", "tab.stock"),
    ("/inbox", "tab.inbox"),
    ("/settings", "tab.more"),
)


def build(node: Node) -> tuple[Frame, list[BaseRoute]]:
    """Return the warehouse client's frame and addresses on a node; the node fetches receivers' keys ahead."""
    with node.replica.transaction() as conn:
        receivers.prepare(conn)
        wall.prepare(conn)
    node.before_forgetting.append(receivers.forget_keys)

    async def fetch() -> None:
        await receivers.keep_fetching(node)

    node.background.append(fetch)
    frame = Frame(node, folders=[Path(__file__).parent / "templates"], theme="warehouse", tabs=TABS)
    return frame, screens.routes(frame)


CLIENT: Final = Client(
    word="warehouse", printers=("label", "waybill"), inbox_kinds=("piece", "parcel"), home="/", build=build
)


def run(launch: Launch) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    return run_client(CLIENT, launch)
