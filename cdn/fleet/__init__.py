"""Nodes, leases, positions and receipts. Pure: no socket, file, clock or randomness."""
