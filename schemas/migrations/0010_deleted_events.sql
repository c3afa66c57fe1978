-- Events that were deleted are not stored again, when the topic is read again or a client sends them again
-- (docs/api.md#deleting-an-event). An INSERT by SQL is not kept from anything.
--
-- CREATE TRIGGER waits for the transactions that write to `events` and keeps others out for a moment.

CREATE TABLE "deletedEvents" (
    hash        bytea PRIMARY KEY,
    "deletedAt" timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE "deletedEvents" IS
    'Guids of deleted events as "suppressionHash" makes hashes of them, for as long as the topic may '
    'still hold the event; the scanner deletes older ones.';
CREATE INDEX "deletedEvents_deletedAt" ON "deletedEvents" ("deletedAt");

-- It runs for every DELETE: of the API, `forget`, `prune` and other systems. TRUNCATE names no rows.
-- `merganser prune` says in `merganser.remember_deleted_since` which events the topic no longer holds:
-- those that were created before. The function runs with its owner's rights: who may delete events
-- needs none to the hashes.
CREATE FUNCTION "rememberDeletedEvents"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    since timestamptz := coalesce(
        nullif(current_setting('merganser.remember_deleted_since', true), '')::timestamptz,
        '-infinity'
    );
BEGIN
    INSERT INTO "deletedEvents" (hash)
    SELECT "suppressionHash"('event', guid) FROM old_rows WHERE "createdAt" >= since
    ON CONFLICT (hash) DO UPDATE SET "deletedAt" = excluded."deletedAt";
    RETURN NULL;
END
$$;
CREATE TRIGGER "rememberDeleted" AFTER DELETE ON events
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "rememberDeletedEvents"();
