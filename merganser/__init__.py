"""What the processes share, what operators do, and the `merganser` command."""
