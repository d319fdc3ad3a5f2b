"""Recount a server from its logs: everything derived must follow from signed envelopes, commands and the journal alone."""

from __future__ import annotations

from server.installation import Server
from server.recount.log import read_log
from server.recount.money import check_money
from server.recount.trade import check_trade
from server.store import Store
from sync_core.check import Check
from sync_core.fold import Trade


def recount_server(server: Server, trade: Trade) -> tuple[list[Check], dict[str, str]]:
    """Return every check, and {document: canonical hash of its envelopes and rows}; nothing is changed."""
    return recount_store(server.store, trade)


def recount_store(store: Store, trade: Trade) -> tuple[list[Check], dict[str, str]]:
    """As `recount_server`, for a database alone: beside a running server, or of a backup that nobody has started."""
    with store.reading() as conn:
        again, log_checks = read_log(conn, trade, store.verifier)
        checks = [*log_checks, *check_trade(conn, again), *check_money(conn)]
    return sorted(checks, key=lambda check: (len(check.name), check.name)), again.hashes
