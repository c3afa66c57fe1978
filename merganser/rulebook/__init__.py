"""Rules of profile properties: their language, their value types and the tables that keep them."""
