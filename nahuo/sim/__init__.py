"""The seeded simulator: the real engine, clients and authority in one process, under a virtual clock and a hostile world."""
