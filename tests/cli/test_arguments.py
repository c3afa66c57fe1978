"""What stands on the command line is checked before anything is done with it."""

import subprocess
import sys

import pytest

from merganser.admin.keys import LONGEST_NAME
from tests.support.command import command
from tests.support.database import Database
from tests.support.service import environment

COMMANDS = [
    *([], ["explain"], ["forget"], ["export"], ["readmit"], ["prune", "--older-than"]),
    *(["keys", "create"], ["keys", "revoke"], ["rules", "apply"], ["rules", "test"]),
    *(["replay", "--from"], ["dead", "show"], ["logs"]),
]


@pytest.mark.parametrize("before", COMMANDS, ids=" ".join)
def test_what_is_no_utf_8_is_told_in_one_line(before: list[str]) -> None:
    arguments: list[bytes | str] = [*before, b"caf\xe9"]
    ended = subprocess.run(
        [sys.executable, "-m", "merganser.cli", *arguments],
        env=environment({}),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == b""
    number = len(arguments)
    assert ended.stderr.decode() == f"merganser: argument {number} is not valid UTF-8\n"


@pytest.mark.parametrize(
    "name",
    ["", " ", "\t\n", "\u200b\u00a0", "x" * (LONGEST_NAME + 1), "a\nb", "a\x1b[2Jb", "a\x7f"],
    ids=ascii,
)
@pytest.mark.parametrize("kind", ["create", "ensure"])
async def test_a_key_needs_a_name_that_can_be_read(
    database: Database, kind: str, name: str, tmp_path: object
) -> None:
    more = [f"--secret-file={tmp_path}/key"] if kind == "ensure" else []
    ended = await command({"MERGANSER_DATABASE_URL": database.url}, "keys", kind, name, *more)
    assert ended.status == 2
    assert "Traceback" not in ended.err
    assert await database.count("apiKeys") == 0


async def test_a_name_may_be_long_and_of_any_script(database: Database) -> None:
    name = "Bürö 🦆 " + "x" * (LONGEST_NAME - 7)
    ended = await command({"MERGANSER_DATABASE_URL": database.url}, "keys", "create", name)
    assert ended.status == 0, ended.err
    assert await database.column('SELECT name FROM "apiKeys"') == [name]
