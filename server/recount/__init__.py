"""Recount a server from its logs: everything derived must follow from signed envelopes, commands and the journal alone."""
