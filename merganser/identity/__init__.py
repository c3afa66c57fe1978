"""Who is who: the rules of identity as a pure function, and the store that applies its plan."""
