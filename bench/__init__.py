"""Measurements anyone can repeat, on real servers: `python -m bench NAME`, or `make bench`."""
