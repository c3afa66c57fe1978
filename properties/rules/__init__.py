"""What rules compute, as pure functions: filters, aggregations, and the engine that runs them."""
