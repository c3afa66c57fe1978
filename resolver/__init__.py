"""The consumer group: reads the topic, resolves identity, writes rows and position together."""
