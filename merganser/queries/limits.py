"""Limits of what one response has."""

MAX_PAGE_BYTES = 8 << 20
"""Of a page; it ends with the entry that reaches this size."""

MAX_ENTRY_BYTES = 1 << 20
"""Of an event's data or a profile's properties together, and so of a single value."""
