"""Triggers that fail for events of some types, as an operator may add them."""

_PREFIX = "forbidden "
"""Such a type starts with this; the SQLSTATE of the failure follows."""


def failing_triggers(*types: str) -> bytes:
    """Return SQL that makes Postgres fail when an event of such a type gets a profile."""
    return "".join(
        f"""
        CREATE FUNCTION "{kind}"() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'secret' USING ERRCODE = '{kind.removeprefix(_PREFIX)}';
        END
        $$;
        CREATE TRIGGER "{kind}" BEFORE INSERT OR UPDATE ON events FOR EACH ROW
            WHEN (NEW.type = '{kind}' AND NEW."profileGuid" IS NOT NULL)
            EXECUTE FUNCTION "{kind}"();
        """
        for kind in types
    ).encode()
