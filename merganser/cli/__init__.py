"""The `merganser` command."""
