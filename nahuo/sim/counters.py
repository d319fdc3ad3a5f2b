"""The rare events that a night of seeds must have met: what never happened proves nothing about it.

Each has one line that says what it is. Other counters may be kept as well; these are promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SOMETIMES: Final[dict[str, str]] = {
    # --- network
    "cut": "a connection was cut with frames in flight",
    "cut_mid_frame": "a connection ended within a message",
    "half_open": "a connection went silent and nobody was told",
    "one_way": "one direction of a connection died, the other worked",
    "flapped": "a connection lasted some seconds only",
    "stalled_frame": "a frame arrived after the other end had given the connection up",
    "basement": "a phone walked out of the signal",
    "outage": "no line led to the server for hours",
    "replayed_to_hub": "a captured connection was played to the hub again",
    "replayed_to_device": "an old update was played to a device again",
    "nothing_new_in_update": "the hub got what it had already",
    "group_commit": "updates of several connections shared a commit",
    "refused_gate.gap": "the hub met a hole in a chain and asked again",
    # --- processes
    "crash_device_inside": "a device died inside a transaction",
    "crash_device_after": "a device died behind a commit, before anything was done about it",
    "crash_device_booting": "a device died while it booted",
    "crash_after_paper": "a device died between the label and the note that it printed",
    "crash_hub_server_inside": "the server died inside the hub's transaction",
    "crash_hub_server_after": "the server died behind the hub's commit, before it acknowledged",
    "crash_deciding_server_inside": "the server died inside the authority's transaction",
    "crash_deciding_server_after": "the server died behind the authority's commit, before it fanned out",
    "dozed": "the system stopped a process",
    "woke_with_work": "a process woke up and found what had come meanwhile",
    "second_instance_refused": "a second instance was started on the same files and was told no",
    "acted_while_folding": "somebody acted while the rows were behind the log",
    "purchase_found_after_crash": "a purchase whose answer was never seen was found after the crash",
    "updated_device": "a device's program was updated in the middle of the day",
    "updated_server": "the server's program was updated in the middle of the day",
    "facts_waited_on_device": "an older program on a device kept facts that it could not read until it was updated",
    "facts_waited_on_server": "an older server kept facts that it could not read until it was updated",
    # --- disks and clocks
    "disk_full_device": "a device's disk was full",
    "background_met_full_disk": "the link or the printer met the full disk",
    "action_refused_disk.full": "an action was refused because the disk is full",
    "disk_error_device": "a device's disk failed to write",
    "disk_full_server": "the server's disk was full",
    "disk_error_server": "the server's disk failed to write",
    "clock_forth": "a device's clock jumped forth",
    "clock_back": "a device's clock jumped back",
    "clock_1970": "a device's clock fell back to 1970",
    "clock_summer": "a device's clock changed by an hour",
    "clock_frozen": "a device's clock stood still",
    # --- printers
    "printed_twice": "a label came out twice",
    "paper_out": "a printer had no paper",
    "label_torn": "half a label came out",
    "wrong_printer": "a label came out of a colleague's printer",
    "reprinted": "somebody printed a label again",
    # --- copies, identities, peers
    "renumbered": "a device got another number",
    "old_copy_met_its_later_self": "an old copy found that the hub knew more of it than itself",
    "new_key": "a device took a new key, and with it a new number",
    "new_key_answer_lost": "the server had changed a device's key, and the device did not hear of it",
    "restored_phone": "a phone's files were put back from an older copy",
    "cloned_phone": "a phone's files were copied to another phone, and both went on",
    "restored_server": "the server was put back from an older copy",
    "another_person_signed_in": "a colleague signed in on the same device",
    "command_device.revoke": "a device was stopped",
    "leash_released": "a supervisor let count what a device brought back too late or too much of",
    "command_device.write_off": "a device was written off",
    "access_denied": "a device asked for a document that is not its own",
    "forged": "a device sent what it may not",
    "forged_void": "a device said, well signed, what its role may not",
    "hasty_office": "the office did what makes no sense any more",
    "forgery_refused": "the hub refused a forgery with a code",
    "mute_reader": "a device read and never answered",
    "backlog": "a device came back with a hundred acts",
    # --- people and the office
    "double_tap": "somebody tapped twice",
    "fat_finger": "a price was typed a hundredfold",
    "question_price.ten_times": "the phone asked whether a price is right",
    "question_price.above_cap": "a price above the cap was asked about",
    "bought_after_recall_came": "a purchase was made while its recall was on the phone",
    "bought_under_the_red_band": "a closed order's piece was bought all the same",
    "price_corrected": "a price was corrected",
    "undone": "a purchase was undone",
    "foreign_scan": "a code that is none of ours was scanned",
    "swapped": "two bags were found to carry each other's label",
    "scan_carry": "a bag was scanned at the terminal that does not own its order",
    "scanned_before_its_phone_synced": "a bag was scanned in before its phone had spoken",
    "scan_waiting_for_phone": "a label nobody had heard of was put apart",
    "scan_stop_closed": "a bag of a closed order was stopped",
    "scan_stop_refund": "a bag of an order under refund was stopped",
    "scan_already_shipped": "a waybill was scanned again after it had left",
    "second_piece": "a piece was bought twice for one want",
    "piece_bought_late_for_closed_order": "a piece was bought for an order closed unseen",
    "money_short": "an order waited for money",
    "inspected_pending": "a return did not pass",
    "refunded_by_stall": "a stall gave money back",
    "stock_sold": "a returned piece was sold again",
    "command_day.close": "the business day was closed",
    "command_fees.set": "the commission changed in the middle of the day",
    "command_task.reassign": "a task was given to another picker",
    "parked": "work of a stopped device waits for a supervisor",
    "long_storm": "the storm lasted days",
}


def never_reached(seen: Mapping[str, int]) -> list[str]:
    """Return the promised events that did not happen."""
    return [name for name in SOMETIMES if not seen.get(name)]
