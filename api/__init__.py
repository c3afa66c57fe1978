"""The read API: events and profiles over HTTP, for those with a key."""
