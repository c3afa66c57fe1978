"""What every process needs: settings, logs, metrics, lifecycle, Postgres and Kafka."""
