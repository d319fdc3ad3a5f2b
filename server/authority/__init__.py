"""The authority: the only one who decides about money, and the only one who writes the server's envelopes."""

from server.authority.authority import Authority

__all__ = ["Authority"]
