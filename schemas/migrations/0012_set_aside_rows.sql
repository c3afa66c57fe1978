-- An event that is deleted needs no operator any more: its entry in "setAside" is deleted with it. Otherwise
-- a later event with the same guid would count as set aside, and the scanner would skip it.
--
-- CREATE TRIGGER waits for the transactions that write to `events` and blocks others for a moment.

DELETE FROM "setAside"
WHERE kind = 'row' AND NOT EXISTS (SELECT FROM events WHERE guid = subject);

-- Runs for every DELETE: of the API, `forget`, `prune` and other systems. It has its owner's rights, so who
-- may delete events needs none to this table. TRUNCATE names no rows.
CREATE FUNCTION "deleteSetAsideRows"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM "setAside" USING old_rows WHERE kind = 'row' AND subject = old_rows.guid;
    RETURN NULL;
END
$$;
CREATE TRIGGER "deleteSetAsideRows" AFTER DELETE ON events
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "deleteSetAsideRows"();
