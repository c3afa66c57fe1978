"""The whole system on one machine, without Docker: Kafka, Postgres and one of each process.

    with stack.run_stack(Path("home")) as info: ...          # everything
    with stack.local_servers(Path("home")) as servers: ...   # Kafka and Postgres alone

All processes end with the calling process, even if it is killed. `dev.stack.commands` has the
commands behind `merganser up`, which leave the stack running.
"""

from dev.stack.errors import StackError
from dev.stack.launch import run_stack
from dev.stack.servers import Servers, local_servers
from dev.stack.state import StackInfo

__all__ = ["Servers", "StackError", "StackInfo", "local_servers", "run_stack"]
