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

SEND_BUFFER_BYTES_MAX: Final = 1024 * 1024
"""A reader that has more than this unsent waits with its cursor; nothing is queued for it."""

DOCUMENTS_PER_CONNECTION_MAX: Final = 200
UNDECIDED_FRAMES_MAX: Final = 100

CONNECT_TIMEOUT_MS: Final = 10_000
PING_INTERVAL_MS: Final = 15_000
SILENCE_MS_MAX: Final = 40_000
BACKOFF_MS_MIN: Final = 250
BACKOFF_MS_MAX: Final = 30_000
FOLD_PAUSE_MS: Final = 5
FOLD_LATER_MS_MAX: Final = 1_000
"""A device folds what came when the wire pauses for so long, or at least so often: 200 subjects, some 30 ms."""
GROUP_COMMIT_ENVELOPES_MAX: Final = 5_000
