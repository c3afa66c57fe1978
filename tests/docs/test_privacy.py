"""docs/privacy.md says of every table whether it has data of a person."""

import re

from tests.support import ROOT
from tests.support.database import Database

WITHOUT_PEOPLE = {
    "apiKeys",
    "consoleLoginLinks",
    "consoleSessions",
    "consumerOffsets",
    "keyUsage",
    "profilePropertyRules",
    "propertySources",
    "propertySourceStates",
    "retention",
    "schemaMigrations",
}


async def test_every_table_that_has_data_of_a_person_is_on_the_page(database: Database) -> None:
    page = (ROOT / "docs" / "privacy.md").read_text()
    section = page.split("### Postgres\n")[1].split("### Elsewhere\n")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    named = {table for cell in cells for table in re.findall(r"`(\w+)`", cell)}
    tables = await database.column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert named | WITHOUT_PEOPLE == set(tables)
    assert not named & WITHOUT_PEOPLE
