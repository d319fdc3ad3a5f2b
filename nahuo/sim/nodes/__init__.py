"""What runs in the simulation: the real device and the real server behind simulated shells, and the network between them."""
