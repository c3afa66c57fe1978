"""Ids and data of clients cannot control an operator's terminal."""

import asyncio

import pytest
from typer.testing import CliRunner

from merganser.cli.main import app
from tests.support.database import Database

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b2J\u202e:boom:[bold]"
SHOWN = "\ufffd]0;title\ufffd\ufffd[2J\ufffd2J\ufffd:boom:[bold]"


@pytest.mark.parametrize(
    "command", ["explain pro_1", "dead list --table --kind move", "dead show move:pro_1"]
)
async def test_a_hostile_anonymous_id(database: Database, command: str) -> None:
    await database.execute("""INSERT INTO profiles VALUES ('pro_1')""")
    await database.execute(
        """INSERT INTO "anonymousIds" ("anonymousId", "profileGuid") VALUES (%s, 'pro_1')""",
        HOSTILE,
    )
    await database.execute(
        'INSERT INTO "setAside" (kind, subject, place, reason) VALUES (%s, %s, %s, %s)',
        *("move", "pro_1", HOSTILE, "a reason"),
    )
    env = {"MERGANSER_DATABASE_URL": database.url, "COLUMNS": "200"}
    result = await asyncio.to_thread(CliRunner().invoke, app, command.split(), env=env)
    assert SHOWN in result.stdout
    assert not {*"\x1b\x07\x9b\u202e"} & {*result.stdout}
