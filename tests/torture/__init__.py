"""Hostile events, killed processes, the same grouping: `make torture`, and smaller in the tests."""
