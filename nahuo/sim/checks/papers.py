"""What an action queued comes out of a printer by itself, whatever died meanwhile: the job was in the action's transaction (REL-R4).

People print again what they miss, so a label on paper at the end proves nothing: only the first copy does, which no hand asked for.
"""

from __future__ import annotations

from nahuo.sim.checks.money import is_stopped
from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.scene import Scene
from nahuo.sim.world import Broken


def check_papers(scene: Scene) -> None:
    """The first label of each garment and the waybill of each packed parcel came out, here or of a colleague's printer."""
    families: dict[str, list[DeviceNode]] = {}
    for device in scene.devices:
        families.setdefault(device.family, []).append(device)
    # Files put back from a copy have forgotten what was queued since; who is stopped says nothing that the server believes.
    whole = {
        family: _first_copies(devices)
        for family, devices in families.items()
        if not any(device.rewound or is_stopped(scene, device) for device in devices)
    }
    for garment in scene.physical.garments:
        family = garment.device.rstrip("b")
        if not garment.gone and family in whole and garment.code not in whole[family]:
            raise Broken(f"REL-R4: the label {garment.code} was queued with its purchase and came out of no printer")
    with scene.server.store.reading() as conn:
        printed = conn.exec_driver_sql(
            "SELECT DISTINCT json_extract(f.body, '$.waybill_no'), f.device FROM fact f"
            " WHERE f.kind = 'waybill.printed' AND f.carried = 0 AND f.void IS NULL"
        ).all()
    for number, device in printed:
        for family, devices in families.items():
            said_here = any(device in known.numbers for known in devices)
            if said_here and family in whole and number not in whole[family]:
                raise Broken(f"REL-R4: the waybill {number} was queued by {family} and came out of no printer")


def _first_copies(devices: list[DeviceNode]) -> set[str]:
    return {paper.subject for device in devices for paper in (*device.papers, *device.elsewhere) if paper.copy_no == 1}
