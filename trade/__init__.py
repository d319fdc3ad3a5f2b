"""The rules of the trade: pure. No I/O, no clock, no randomness; phone, terminal and server import the same code."""
