"""Finds rows that other systems inserted and resolves them; brings events after big merges home."""
