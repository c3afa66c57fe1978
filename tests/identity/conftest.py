"""How many histories: `make test` tries thousands, `make test-nightly` tens of thousands."""

from hypothesis import settings

settings.register_profile("ci", max_examples=2_000, deadline=None)
settings.register_profile("nightly", max_examples=50_000, deadline=None)
