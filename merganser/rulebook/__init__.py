"""The rules of profile properties: their language, their value types and their tables."""
