"""The authority's own rows about the trade: merchants, orders, wanted pieces, pieces, parcels, returns, decisions.

They are derived from facts and commands and never say more than those. Units as in `server.schema`.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, UniqueConstraint

from server.schema import _BIG, Blob, _table, _text, _whole

merchant = _table(
    "merchant",
    _text("id", primary_key=True),
    _text("name"),
    _text("phone", ""),
    _whole("service_until_ms", null=True),
    _whole("created_ms"),
)

shop = _table(
    "shop",
    _text("name", primary_key=True),
    _text("merchant"),
    _whole("drop_ship", 1),
    _whole("tolerance_fen", 0),
    _whole("ship_part", 0),
    _text("default_answer", "re_enter"),
    _whole("hold_messages", 1),
    _text("courier", ""),
    _text("requirements", ""),
    _whole("created_ms"),
)

setting = _table("setting", _text("name", primary_key=True), _text("value"))

stall = _table(
    "stall",
    _text("id", primary_key=True),
    _text("market"),
    _text("floor"),
    _text("stall"),
    _text("name", ""),
    _text("aisle", ""),
    _whole("returns_days", 7),
    _text("means", "cash"),
)

shop_order = _table(
    "shop_order",
    _text("id", primary_key=True),
    _whole("number", unique=True),
    _text("order_no"),
    _text("shop"),
    _text("merchant"),
    _whole("drop_ship"),
    _text("status"),
    _text("holds", "[]"),
    _text("buyer", ""),
    _text("message", ""),
    _whole("message_read", 0),
    _text("remark", ""),
    _text("region", ""),
    _text("courier", ""),
    _whole("address_ok", 0),
    _text("receiver_shown", ""),
    Column("receiver_sealed", Blob, nullable=True),
    _whole("hold_fen", 0),
    _whole("refund_open", 0),
    _text("digest"),
    _text("warehouse", ""),
    _text("cell", null=True),
    _whole("terminal", null=True),
    _whole("created_ms"),
    _whole("accepted_ms", null=True),
    _whole("closed_ms", null=True),
    _text("closed_reason", ""),
    _whole("shipped_ms", null=True),
    UniqueConstraint("shop", "order_no"),
    Index("shop_order_by_merchant", "merchant", "number"),
    Index("shop_order_by_status", "status", "number"),
)
"""status: held, money, ready, out, shipped, closed."""

order_line = _table(
    "order_line",
    _text("order_id", primary_key=True),
    _text("line", primary_key=True),
    _text("title", ""),
    _text("code", ""),
    _text("code_problem", null=True),
    _text("style", ""),
    _text("colour", ""),
    _text("size", ""),
    _text("market", ""),
    _text("floor", ""),
    _text("stall", ""),
    _whole("quote_fen", 0),
    _whole("price_fen", 0),
    _whole("copies"),
    _whole("refund_asked", 0),
    _whole("closed", 0),
)

wanted = _table(
    "wanted",
    _text("id", primary_key=True),
    _text("order_id"),
    _text("line"),
    _text("merchant"),
    _whole("piece_no"),
    _whole("copy_no"),
    _text("status"),
    _text("task"),
    _whole("attempt", 1),
    _text("keeper", null=True),
    _text("not_before", null=True),
    _whole("postponed", 0),
    _whole("queued", 0),
    Index("wanted_by_order", "order_id"),
    Index("wanted_by_status", "status"),
)
"""One wanted piece of an order through all its attempts; its id is that of the first task.

status: waiting (money or hold), ready, out, asked, answered, bounced, bought, in, shipped, closing, closed."""

task = _table(
    "task",
    _text("id", primary_key=True),
    _text("wanted"),
    _text("order_id"),
    _whole("attempt"),
    _text("source"),
    _text("piece", null=True),
    _text("stall_id"),
    _text("market"),
    _text("floor"),
    _text("stall"),
    _text("style"),
    _text("colour"),
    _text("size"),
    _whole("quote_fen"),
    _whole("cap_fen"),
    _text("status"),
    _text("document", null=True),
    _text("warehouse", ""),
    _whole("device", null=True),
    _text("day", null=True),
    _text("recalled", null=True),
    _whole("recall_seen", 0),
    _text("replaces", null=True),
    Index("task_by_wanted", "wanted"),
    Index("task_by_order", "order_id"),
    Index("task_by_status", "status"),
    Index("task_by_document", "document"),
)
"""One attempt. status: ready, out, recalled (still out, not yet answered), answered, asked, bounced, bought, ended."""

piece = _table(
    "piece",
    _text("code", primary_key=True),
    _text("wanted", null=True),
    _text("task", null=True),
    _text("order_id", null=True),
    _text("merchant", ""),
    _text("owner"),
    _text("place"),
    _text("stall_id", ""),
    _text("style", ""),
    _text("colour", ""),
    _text("size", ""),
    _whole("price_fen", 0),
    _whole("charged_fen", 0),
    _whole("excess_fen", 0),
    _text("means", "cash"),
    _whole("device", null=True),
    _text("person", ""),
    _whole("bought_ms", null=True),
    _text("bought_fact", null=True),
    _text("outcome", ""),
    _whole("scanned_ms", null=True),
    _text("warehouse", ""),
    _text("return_no", null=True),
    _text("trip", null=True),
    _text("reserved", null=True),
    _text("parcel", null=True),
    _whole("stock_since_ms", null=True),
    _whole("credited", 0),
    Index("piece_by_order", "order_id"),
    Index("piece_by_place", "place"),
    Index("piece_by_task", "task"),
)
"""place is one of the words of I1; outcome is that of its purchase verdict; warehouse is where it was last seen, "" for one that was
seen before this was kept: it counts as any warehouse's."""

parcel = _table(
    "parcel",
    _text("id", primary_key=True),
    _text("order_id"),
    _text("status"),
    _text("waybill_no", null=True),
    _text("courier", ""),
    _text("three_part_code", ""),
    _text("held", null=True),
    _text("tasks", "[]"),
    _text("pieces", "[]"),
    _whole("packed_ms", null=True),
    _whole("shipped_ms", null=True),
    Index("parcel_by_waybill", "waybill_no"),
)

parcel_key = _table(
    "parcel_key",
    _text("parcel", primary_key=True),
    Column("key", Blob, nullable=False),
    _whole("purged_ms", null=True),
)

courier_range = _table(
    "courier_range",
    Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("courier"),
    _text("prefix"),
    _whole("next"),
    _whole("last"),
    _whole("digits"),
    _text("three_part_code", ""),
    _text("bag_place", ""),
)

waybill = _table(
    "waybill",
    _text("number", primary_key=True),
    _text("courier"),
    _text("parcel"),
    _whole("obtained_ms"),
    _whole("voided_ms", null=True),
)

expected_return = _table(
    "expected_return",
    _text("courier_no", primary_key=True),
    _text("order_id", null=True),
    _text("merchant", ""),
    _text("pieces", "[]"),
    _text("document"),
    _whole("expected_ms", null=True),
    _whole("received_ms", null=True),
    _whole("matched", 0),
    _text("shelf", ""),
)

trip = _table(
    "trip",
    _text("id", primary_key=True),
    _text("document", unique=True),
    _whole("device"),
    _text("warehouse"),
    _text("day"),
    _whole("opened_ms"),
    _whole("closed_ms", null=True),
)

cell = _table(
    "cell",
    _whole("terminal", primary_key=True, autoincrement=False),
    _text("cell", primary_key=True),
    _text("order_id", null=True),
)

decision = _table(
    "decision",
    Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("kind"),
    _text("subject"),
    _text("order_id"),
    _text("merchant"),
    _text("cause"),
    _text("detail"),
    _whole("opened_ms"),
    _whole("deadline_ms", null=True),
    _whole("resolved_ms", null=True),
    _text("choice", null=True),
    UniqueConstraint("kind", "cause"),
    Index("decision_by_merchant", "merchant", "resolved_ms"),
)
"""What waits for a merchant: kind is answer, ask, bounce, over_cap or refund."""

discrepancy = _table(
    "discrepancy",
    Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("key", unique=True),
    _text("code"),
    _text("subject"),
    _text("owner"),
    _text("zh"),
    _text("en"),
    _text("facts"),
    _whole("opened_ms"),
    _whole("resolved_ms", null=True),
    _text("note", ""),
    Index("discrepancy_by_open", "resolved_ms", "opened_ms"),
)

notice = _table(
    "notice",
    Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("owner"),
    _text("code"),
    _text("subject"),
    _text("zh"),
    _text("en"),
    _text("fact", ""),
    _whole("at_ms"),
    _whole("read_ms", null=True),
    Index("notice_by_owner", "owner", "id"),
)
"""Inbox entries for owners (I14): what did not win, or what the merchant should know."""
