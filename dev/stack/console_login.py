"""A link that logs in to the console of a running stack, once."""

import os
import subprocess
from collections.abc import Sequence

from dev.stack.errors import StackError
from dev.stack.services import KEY_NAME
from dev.stack.state import StackInfo


def create_link(info: StackInfo, cli: Sequence[str]) -> str:
    """Return the URL of a new link. `cli` is the command line that runs `merganser`.

    Raises StackError if the command fails.
    """
    addresses = {
        "MERGANSER_DATABASE_URL": info.database_url,
        "MERGANSER_CONSOLE_URL": info.console_url,
    }
    made = subprocess.run(
        [*cli, "keys", "login", KEY_NAME],
        env={**os.environ, **addresses},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise StackError(f"No link to the console could be created.\n{made.stderr}")
    return made.stdout.strip()
