"""The decoration process: property values from the company's own databases."""
