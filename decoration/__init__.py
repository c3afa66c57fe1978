"""Properties from the company's own database: queried for a batch of users at a time."""
