"""Break everything under load for a time, then prove that nothing was lost: `make chaos`."""
