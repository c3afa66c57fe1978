"""Links that log in to the console once (`merganser keys login`)."""

import secrets

from merganser.admin.actions import Actor, record_action
from merganser.admin.database import open_connection
from merganser.admin.errors import AdminError
from merganser.http.authentication import CONSOLE_PERMISSIONS, hash_key
from merganser.runtime import sql
from merganser.runtime.settings import ConsoleSettings

_SQL = sql.load(__package__, "login_links.sql")

LINK_SECONDS = 600
"""How long a link is valid."""


class NoConsoleKey(AdminError):
    """No valid key with this guid or name may log in to the console."""


async def create_login_link(settings: ConsoleSettings, actor: Actor, guid_or_name: str) -> str:
    """Return the URL of a link that logs in to the console once, as a key, within `LINK_SECONDS`.

    Args:
        settings: the URLs of the database and of the console.
        actor: who asks for the link.
        guid_or_name: of the key; of several keys with this name the newest.

    Raises:
        NoConsoleKey: no valid key with this guid or name may log in to the console.
    """
    token = secrets.token_urlsafe(32)
    values = {
        "token": hash_key(token),
        "seconds": LINK_SECONDS,
        "guid_or_name": guid_or_name,
        "permissions": [str(permission) for permission in CONSOLE_PERMISSIONS],
    }
    async with open_connection(settings, "keys") as connection, connection.transaction():
        cursor = await connection.execute(_SQL["create_link"], values)
        if cursor.rowcount:
            await record_action(connection, actor, "login link created", subject=guid_or_name)
    if cursor.rowcount == 0:
        raise NoConsoleKey(
            f"no valid key with the guid or name {guid_or_name!r} has the permission console:read "
            "or console:write: `merganser keys list` shows all keys"
        )
    base = settings.console_url or f"http://{settings.console_host}:{settings.console_port}"
    return f"{str(base).rstrip('/')}/login/{token}"
