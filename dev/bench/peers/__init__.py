"""Other gateways to Kafka, measured beside ingest: `python -m dev.bench.peers`."""
