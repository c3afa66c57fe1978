"""The read API: a process that serves events and profiles over HTTP to clients with an API key."""
