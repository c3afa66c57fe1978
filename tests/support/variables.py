"""The environment variables that are settings of our processes."""

from merganser.runtime.settings import Settings

OURS = frozenset(
    f"MERGANSER_{name.upper()}"
    for process in Settings.__subclasses__()
    for name in process.model_fields
)
