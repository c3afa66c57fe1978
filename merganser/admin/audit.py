"""Audits: recompute what is stored from the events, and report what differs (`merganser audit`)."""

from collections.abc import Callable
from datetime import datetime

from merganser.admin.database import open_connection
from merganser.identity import audit as identity
from merganser.identity.audit import IdentityAuditReport
from merganser.runtime.settings import Settings
from properties import audit as properties
from properties.audit import PropertyAuditReport


async def audit_identity(
    settings: Settings, progress: Callable[[float], None]
) -> IdentityAuditReport:
    """Compare the profile of each event with what the events say.

    Args:
        settings: the database's URL, and the ids that mean no one.
        progress: called with the completed fraction, from 0 to 1.
    """
    async with open_connection(settings, "audit") as connection:
        return await identity.audit(connection, settings.nobody_ids, progress)


async def audit_properties(
    settings: Settings, now: datetime, progress: Callable[[float], None]
) -> PropertyAuditReport:
    """Compare the properties of each profile with what rules compute from the events.

    Args:
        settings: the database's URL.
        now: the current time; it ends the windows of rules.
        progress: called with the completed fraction, from 0 to 1.
    """
    async with open_connection(settings, "audit") as connection:
        return await properties.audit(connection, now, progress)
