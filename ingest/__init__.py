"""The gateway: validates what clients send and answers 200 once Kafka has acknowledged it."""
