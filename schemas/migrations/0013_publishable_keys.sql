-- Publishable keys: anyone who opens a web page can read its key, so such a key can only send events
-- (docs/security.md#keys). Existing keys are secret keys.
--
-- It locks "apiKeys" for a moment, for readers and writers.

ALTER TABLE "apiKeys"
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'secret',
    ADD COLUMN origins text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN rate real,
    ADD CONSTRAINT "kind is secret or publishable" CHECK (kind IN ('secret', 'publishable')),
    ADD CONSTRAINT "a publishable key can only send events" CHECK (
        kind = 'secret' OR permissions <@ '{events:write}'
    ),
    ADD CONSTRAINT "only a publishable key has origins" CHECK (
        kind = 'publishable' OR origins = '{}'
    ),
    ADD CONSTRAINT "rate is a positive number" CHECK (rate > 0 AND rate < 'infinity');
COMMENT ON COLUMN "apiKeys".origins IS
    'Web pages of other origins cannot use the key. Empty: pages of any origin can.';
COMMENT ON COLUMN "apiKeys".rate IS
    'Most events per second in one ingest process. Null: MERGANSER_INGEST_RATE.';

-- What an event may do depends on the kind of the key that it came with, also after the key was
-- revoked. So the kind of a guid never changes, and the row of a publishable key stays.
CREATE FUNCTION "refuseKeyChange"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'restrict_violation',
        MESSAGE = CASE TG_OP
            WHEN 'DELETE' THEN 'the row of a publishable key cannot be deleted'
            ELSE 'guid and kind of an API key cannot change'
        END,
        HINT = 'Revoke the key with `merganser keys revoke`, and create another one.';
END
$$;
CREATE TRIGGER "keepKind" BEFORE UPDATE ON "apiKeys"
    FOR EACH ROW WHEN (OLD.kind <> NEW.kind OR OLD.guid <> NEW.guid)
    EXECUTE FUNCTION "refuseKeyChange"();
CREATE TRIGGER "keepRow" BEFORE DELETE ON "apiKeys"
    FOR EACH ROW WHEN (OLD.kind = 'publishable')
    EXECUTE FUNCTION "refuseKeyChange"();
