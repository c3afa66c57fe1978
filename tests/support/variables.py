"""The environment variables that configure the processes."""

from merganser.runtime.settings import Settings

OURS = frozenset(
    f"MERGANSER_{name.upper()}"
    for process in Settings.__subclasses__()
    for name in process.model_fields
)
