"""Identity, which profile an event belongs to: rules as a pure function, and their store."""
