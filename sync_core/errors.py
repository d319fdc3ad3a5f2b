"""The engine's errors: one tree, each with a stable `code` (listed in docs/errors.md).

Refused: a rule or the gate says no. Retryable: try again later. Incompatible: versions. Corrupt: set it aside. Invariant: our bug.
Input from outside never raises out of the core: decoders raise `MalformedError`, which the gate turns into a refusal.
"""

from __future__ import annotations


class NahuoError(Exception):
    """Base of every expected failure; `code` is stable, the message says what to do."""

    code = "nahuo.error"


class RefusedError(NahuoError):
    """A rule said no; nothing was changed."""

    code = "refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MalformedError(NahuoError):
    """Bytes from outside that are not of our shape; `code` says in which way."""

    code = "gate.shape"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RetryableError(NahuoError):
    """The network or a device is busy; the same call may work later."""

    code = "retry"


class IncompatibleError(NahuoError):
    """The data was written by a version this program does not know; update the program."""

    code = "incompatible"


class CorruptError(NahuoError):
    """A file does not hold what it should; it was not changed. Set it aside and pair the device again."""

    code = "corrupt"


class AlreadyOpenError(NahuoError):
    """Another process has this replica open; close that one first."""

    code = "replica.already_open"


class DiskError(NahuoError):
    """The disk did not do what was asked; nothing was recorded. The same may work later: nothing is damaged."""

    code = "disk.error"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class DiskFullError(DiskError):
    """The disk is full; nothing was recorded. Free some space, then do it again."""

    code = "disk.full"

    def __init__(self, message: str) -> None:
        super().__init__("disk.full", message)


class InvariantError(NahuoError):
    """A promise of the code was broken: a bug of ours, never the user's."""

    code = "invariant"
