-- What rules remember of a profile is bounded in bytes from now on (docs/properties.md). It has other
-- shapes than before, so the properties process computes all properties from the events again: the
-- backfill of `merganser rules list`. Until it has come to a profile, that keeps its values.

-- As `merganser rules apply` does: a profile made later than "appliedAt" has all its events noted. Where
-- there are rules, writers of events wait for this transaction, and it waits for those under way, up
-- to 10 s; then it fails and nothing is changed: run `merganser migrate` again.
DO $$
BEGIN
    IF EXISTS (SELECT FROM "profilePropertyRules") THEN
        SET LOCAL lock_timeout = '10s';
        LOCK TABLE profiles, events, "eventData" IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END
$$;

-- A state is JSON as text, which Postgres need not parse, and which is read for each profile alone. A
-- properties process of an older version writes no checksum, so it fails and ends instead of writing
-- what this version cannot read.
TRUNCATE "propertyStates", "propertyRecounts";
ALTER TABLE "propertyStates"
    ALTER state TYPE text COLLATE "C",
    ADD COLUMN checksum bigint NOT NULL;
ALTER TABLE "propertyRecounts"
    ALTER state DROP DEFAULT,
    ALTER state DROP NOT NULL,
    ALTER state TYPE text COLLATE "C",
    ADD COLUMN checksum bigint,
    ADD CONSTRAINT "a state has a checksum" CHECK ((state IS NULL) = (checksum IS NULL));
COMMENT ON COLUMN "propertyStates".checksum IS
    'CRC-32 of the state. Where they differ the profile is counted again from its first event on.';

ALTER TABLE "profilePropertyRules" ADD COLUMN failure text COLLATE "C";
COMMENT ON COLUMN "profilePropertyRules".failure IS
    'Why the rule is not computed: its definition cannot be read, or computing it fails for every '
    'profile. Its values stay as they are until `merganser rules apply` gives it a new revision.';

UPDATE "profilePropertyRules"
SET revision = nextval('"propertyRevisions"'),
    "appliedAt" = clock_timestamp(),
    "backfilledTo" = '',
    backfilled = 0
WHERE definition ? 'events';
