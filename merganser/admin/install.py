"""Prepare Postgres and Kafka for this version: tables and topics."""

from merganser.runtime import kafka
from merganser.runtime.settings import Settings
from schemas import migrations


async def migrate(settings: Settings) -> list[str]:
    """Apply the missing migrations and return their names.

    Raises:
        SchemaError: a newer version migrated the database, or a view depends on a changed column.
        psycopg.Error: Postgres refuses; the failing migration is rolled back.
    """
    applied = await migrations.migrate(settings.database_url.get_secret_value())
    return [migration.name for migration in applied]


async def create_topics(settings: Settings) -> list[str]:
    """Create the missing topics and return their names.

    Raises:
        KafkaError: the brokers cannot be reached, or refuse.
    """
    return await kafka.create_topics(settings)
