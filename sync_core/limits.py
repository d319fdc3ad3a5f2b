"""Every limit of the engine, in one place, with its arithmetic.

Sizes in bytes, times in whole milliseconds.
"""

from __future__ import annotations

from typing import Final

INTEGER_MAX: Final = 2**53 - 1
"""Largest integer every JSON reader keeps exactly; also the largest Yjs client id and clock."""

SERVER_NUMBERS: Final = range(100)
"""Device numbers of servers: 0 at first, the next one after each restored backup. Devices start at 100."""

DEVICE_NUMBER_MAX: Final = 99_999
"""Piece codes give a device number five digits."""

ENVELOPE_BYTES_MAX: Final = 32 * 1024
"""One stored envelope. The largest honest one, a parcel of 60 pieces, is under 8 KiB."""

PAYLOAD_SMALL_BYTES_MAX: Final = 4 * 1024
PAYLOADS_SMALL_KEPT_MAX: Final = 1_024
PAYLOADS_LARGE_KEPT_MAX: Final = 32
"""Payloads kept decoded. Objects take ten times their bytes: some 3 MiB a process at 300 bytes each, 50 MiB were all as large as can be."""

FACTS_PER_ENVELOPE_MAX: Final = 64
SUBJECTS_PER_FACT_MAX: Final = 64
JSON_DEPTH_MAX: Final = 8
TEXT_BYTES_MAX: Final = 4 * 1024
NAME_BYTES_MAX: Final = 200
"""Document names, subject ids, persons and kinds."""

BASIS_WRITERS_MAX: Final = 2_000

UPDATE_BYTES_MAX: Final = 256 * 1024
"""One inflated Yjs update in one message: about 600 envelopes of 400 bytes."""

FRAME_BYTES_MAX: Final = UPDATE_BYTES_MAX + 1024
"""A whole WebSocket message: the update, plus address and framing."""

STATE_VECTOR_WRITERS_MAX: Final = 4_000
"""A state vector entry is at most 16 bytes: 64 KiB."""

UPDATES_IN_FLIGHT_MAX: Final = 8
"""Updates a device sends before the first is acknowledged: 2 MiB, 4,800 envelopes, one group commit."""

ACKNOWLEDGED_TOGETHER_MAX: Final = UPDATES_IN_FLIGHT_MAX // 2
"""Answers to updates that a device notes in one commit while more are under way; the last one is noted at once."""

SEND_BUFFER_BYTES_MAX: Final = 1024 * 1024
"""A reader that has more than this unsent waits with its cursor; nothing is queued for it."""

DOCUMENT_ENVELOPES_MAX: Final = 20_000
"""A document that has grown by so many, and by as many as it opened with, ends before its day does: 20,000 of 500 bytes are 10 MB,
40 updates and one or two seconds for a device that reads it from its beginning."""

DOCUMENT_ENDS_AFTER: Final = {"warehouse": 1, "device": 8, "market": 64}
"""Envelopes since its opening after which a document ends at the daily close, by kind. A warehouse's does every day. A scope has about
600 bytes and each replaces the one before: 8 are 5 KB. A directory of 2,000 stalls is 800 KB to open anew, an answer 300 bytes: it ends
when it has grown by 64, and by as many as it opened with, so that what it costs to open is never more than what was said."""

FORGOTTEN_KEPT: Final = 300
"""Names a replica remembers of documents that left it, so that none is begun anew: a line's newest, a season of routes. 300 of 30 bytes."""

DOCUMENTS_PER_CONNECTION_MAX: Final = 200
UNDECIDED_FRAMES_MAX: Final = 100
ASKS_BURST: Final = 500
ASKS_PER_SECOND: Final = 5
"""Questions that make the hub read its log: Auth and step 1. An honest device asks twice a document, 400 at most, and then never again."""

FRAMES_PER_SECOND: Final = 400
FRAMES_BURST: Final = 2_000
"""WebSocket frames of one peer, empty and unfinished ones too. A device that sends a backlog sends some 600 envelopes a frame."""
FRAGMENTS_MAX: Final = 64
"""Frames of one message: a proxy that cuts the largest message into 4 KiB."""
CONTROL_FRAMES_PER_SECOND: Final = 1
CONTROL_FRAMES_BURST: Final = 10
"""WebSocket's own pings and pongs: ours are the protocol's; other people's clients send one in 20 s."""
UNREAD_BYTES_MAX: Final = 64 * 1024
"""Pongs go out without waiting; a peer with so much unread gets none and is dropped."""
OWED_FRAMES_MAX: Final = 256
"""Answers not sent yet: a peer that asks without reading is not read further. A device has 8 updates under way, 3 frames each."""
READ_SLICE_BYTES: Final = 4 * 1024
"""How much is parsed before frames are counted again: 680 of the smallest frames, 5 ms."""

SOCKETS_PER_DEVICE_MAX: Final = 4
"""A phone in a lift leaves a dead socket every ten seconds, each ends after 40. With a fifth the oldest goes. 4 x 257 KiB: 1 MiB."""
CONNECTS_BURST: Final = 20
CONNECTS_PER_SECOND: Final = 1
"""How often a device may connect; one that comes more often waits. An honest one comes back after a quarter of a second at the soonest,
and ever later. A handshake costs 5 ms, what may be said on a fresh connection before it is cut some 20."""
CONNECTS_WAITING_MAX: Final = 16
"""Connections of one device that wait; one more is ended."""
READERS_PER_TOKEN_MAX: Final = 256
ANONYMOUS_PER_ADDRESS_MAX: Final = 32
ANONYMOUS_MS_MAX: Final = 10_000
"""A stock client presents its token in its first frame. 32 x 257 KiB: 8 MiB an address, for ten seconds."""
HALF_OPEN_MS_MAX: Final = 10_000
HALF_OPEN_PER_ADDRESS_MAX: Final = 256
HALF_OPEN_GRACE_MS: Final = 1_000
"""Connections that have not sent a whole request head; with one more the oldest has a second left. 200 phones behind one
router are through in milliseconds."""
BODY_MS_MAX: Final = 300_000
"""A whole HTTP body: 20 MiB of orders at 0.6 Mbit/s."""

QUARANTINE_WAITING_MAX: Final = 256
"""Refused frames that wait for the writer, a second at most: 8 MiB; more are only counted."""
QUARANTINE_ROWS_MAX: Final = 16
QUARANTINE_BYTES_MAX: Final = ENVELOPE_BYTES_MAX + 96
"""What is kept of refused bytes, a sender, code and day; the rest is counted. 16 x 20 codes x 32 KiB: 10 MiB a hostile device and day."""

CONNECT_TIMEOUT_MS: Final = 10_000
KEY_WAITS_MS_MAX: Final = 60_000
"""How long a device that shall take a new key delivers first under the one it has. What it still owes then is said again under the new."""
DENIAL_STANDS_MS: Final = 600_000
"""A restored hub denies what it does not know until it has read the devices' own documents: before this a denial is not its last word."""
PING_INTERVAL_MS: Final = 15_000
SILENCE_MS_MAX: Final = 40_000
BACKOFF_MS_MIN: Final = 250
BACKOFF_MS_MAX: Final = 30_000
BACKOFF_WORKING_MS_MAX: Final = 5_000
"""Somebody who works on a device waits so long at most until it tries again: his screen says that the server is away."""
FOLD_PAUSE_MS: Final = 30
FOLD_LATER_MS_MAX: Final = 1_000
"""A device folds a backlog that came when the wire pauses for so long, or at least so often: 200 subjects, some 30 ms. Between two
updates of a backlog a hub needs 10 to 20 ms; what comes alone is folded at once."""
GROUP_COMMIT_ENVELOPES_MAX: Final = 5_000
LANDED_BYTES_MAX: Final = 4 * 1024 * 1024
"""Large updates of the last moments that a hub keeps as they came, for readers who wait for just them: 16 of the largest."""
