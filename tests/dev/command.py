"""Run one command of the local stack as `merganser` does, with `standin.py` as the processes.

`python -m tests.dev.command up|run|status|logs|down [--json] [--wipe]`
"""

import sys

from dev.stack import commands
from tests.dev.processes import STANDIN


def main(name: str, *options: str) -> int:
    match name:
        case "up":
            return commands.up(json="--json" in options, cli=STANDIN, usual_ports=False)
        case "run":
            return commands.run(cli=STANDIN, usual_ports=False)
        case "status":
            return commands.status()
        case "logs":
            return commands.logs(*options)
        case "down":
            return commands.down(wipe="--wipe" in options)
    raise SystemExit(f"no such command: {name}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
