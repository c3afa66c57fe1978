"""Bounded queries of events and profiles, which the read API and the console share."""
