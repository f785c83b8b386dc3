"""The edge node: protocol engine, request road, tiers and fetches."""
