"""The shapes everyone agrees on: what a client sends, what the topic carries, the tables."""
