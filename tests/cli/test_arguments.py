"""Arguments are checked before a command does anything."""

import subprocess
import sys

import pytest

from merganser.admin.key_terms import LONGEST_NAME
from tests.support.command import command
from tests.support.database import Database
from tests.support.service import environment

COMMANDS = [
    *([], ["explain"], ["forget"], ["export"], ["readmit"], ["prune", "--older-than"]),
    *(["keys", "create"], ["keys", "revoke"], ["rules", "apply"], ["rules", "test"]),
    *(["replay", "--from"], ["dead", "show"], ["logs"]),
]


@pytest.mark.parametrize("before", COMMANDS, ids=" ".join)
def test_an_argument_that_is_not_utf_8_is_refused_in_one_line(before: list[str]) -> None:
    arguments: list[bytes | str] = [*before, b"caf\xe9"]
    result = subprocess.run(
        [sys.executable, "-m", "merganser.cli", *arguments],
        env=environment({}),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == b""
    number = len(arguments)
    assert result.stderr.decode() == f"merganser: argument {number} is not valid UTF-8\n"


@pytest.mark.parametrize(
    "name",
    ["", " ", "\t\n", "\u200b\u00a0", "x" * (LONGEST_NAME + 1), "a\nb", "a\x1b[2Jb", "a\x7f"],
    ids=ascii,
)
@pytest.mark.parametrize("kind", ["create", "ensure"])
async def test_an_unreadable_key_name_is_refused(
    database: Database, kind: str, name: str, tmp_path: object
) -> None:
    more = [f"--secret-file={tmp_path}/key"] if kind == "ensure" else []
    result = await command({"MERGANSER_DATABASE_URL": database.url}, "keys", kind, name, *more)
    assert result.status == 2
    assert "Traceback" not in result.err
    assert await database.count("apiKeys") == 0


async def test_a_key_name_may_be_long_and_in_any_script(database: Database) -> None:
    name = "Bürö 🦆 " + "x" * (LONGEST_NAME - 7)
    result = await command({"MERGANSER_DATABASE_URL": database.url}, "keys", "create", name)
    assert result.status == 0, result.err
    assert await database.column('SELECT name FROM "apiKeys"') == [name]
