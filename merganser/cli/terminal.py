"""How the command speaks to people: results on standard output, all else on standard error."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import psycopg
import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.markup import escape

from merganser.cli import advice
from merganser.runtime.kafka_connection import Connection
from schemas.migrations import SchemaError

out = Console()
err = Console(stderr=True)

Result = TypeVar("Result")


def fail(message: str) -> NoReturn:
    """End with status 1 and a message that says what to do."""
    err.print(f"[bold red]merganser:[/] {escape(message)}", highlight=False)
    sys.exit(1)


def somebody_is_there() -> bool:
    """Whether a question would be read by a person."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if a person says so, or has said so with --yes."""
    if yes:
        return
    if not somebody_is_there():
        fail("nobody is there to ask: look at what is said above, then add --yes")
    typer.confirm(question, abort=True, err=True)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to its end; the failures that a person can mend become one line."""
    try:
        return asyncio.run(work)
    except psycopg.errors.UndefinedTable:
        fail("the tables are not there: run `merganser migrate`")
    except (
        psycopg.OperationalError,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ReadOnlySqlTransaction,
    ) as error:
        what, next_ = advice.of_postgres(error)
        fail(f"Postgres: {what}\n{next_}")
    except KafkaError as error:
        what, next_ = advice.of_kafka(error, Connection.failure)
        fail(f"Kafka: {what}\n{next_}")
    except SchemaError as error:
        fail(str(error))
