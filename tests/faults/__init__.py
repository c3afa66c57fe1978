"""Real faults on real parts: every event answered 200 is in the tables once, and well grouped."""
