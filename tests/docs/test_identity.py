"""The SQL of docs/identity.md runs."""

import re

import pytest
from psycopg import sql

from tests.support import ROOT
from tests.support.database import Database

STATEMENTS = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "identity.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("statement", STATEMENTS, ids=range(len(STATEMENTS)))
async def test_its_sql_runs(database: Database, statement: str) -> None:
    await database.connection.execute(sql.SQL(statement))
