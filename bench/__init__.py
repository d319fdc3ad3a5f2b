"""Measurements, each beside its budget and beside what this machine can do at all. Never asserted in a timed test."""
