"""Measurements anyone can repeat, on real servers: `python -m dev.bench NAME`, or `make bench`."""
