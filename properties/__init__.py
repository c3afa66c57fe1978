"""Properties of profiles: rules as data, what they give as pure functions, kept up to date."""
