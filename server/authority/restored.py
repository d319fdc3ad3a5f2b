"""Take back what this server said before it was restored from an older backup.

Devices still hold the server's own envelopes that its backup lacks; the hub takes them because their signature holds. Their verdicts
were decided: they are noted so that no second one is made, and their postings are booked again from what they say.
"""

from __future__ import annotations

from server import schema_trade as st
from server.authority.batch import Batch
from sync_core.facts import PlacedFact
from trade import kinds
from trade.ids import first_id


def take_back(b: Batch, document: str, fact: PlacedFact) -> None:
    """Note a verdict that the lost server had given."""
    if fact.writer == b.server.number or fact.kind != kinds.PurchaseVerdict.KIND:
        return
    body = kinds.PurchaseVerdict.model_validate(fact.body)
    if not b.once(document, body.fact, kinds.PurchaseVerdict.KIND, body.model_dump(mode="json")):
        return
    b.discrepancy(
        "verdict_recovered", f"piece:{first_id(fact.subjects, 'piece')}", "platform",
        zh="恢复备份后从设备取回了原服务器的裁定，请核对账目", en="after a restore a device returned a verdict of the lost server: check its postings",
        facts=[fact.id],
    )  # fmt: skip


__all__ = ["st", "take_back"]
