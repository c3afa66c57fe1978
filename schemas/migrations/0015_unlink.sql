-- An operator may say that an event is not a link, and take that back (docs/identity.md).
--
-- Changing a constraint of "profileMerges" reads the table once, and blocks its readers and writers meanwhile.
-- CREATE TRIGGER waits for the transactions that write to it.

CREATE TABLE "ignoredLinks" (
    "eventGuid" text COLLATE "C" PRIMARY KEY
);
COMMENT ON TABLE "ignoredLinks" IS 'Events with both ids that are not links.';

CREATE TABLE "linkChanges" (
    guid          text COLLATE "C" PRIMARY KEY DEFAULT "newGuid"('lch_'),
    "eventGuid"   text COLLATE "C" NOT NULL,
    action        text COLLATE "C" NOT NULL CHECK (action IN ('unlinked', 'relinked')),
    reason        text COLLATE "C" NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 1000),
    actor         text COLLATE "C" NOT NULL,
    "createdAt"   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE "linkChanges" IS 'The trail: who ignored a link, or took that back, when and why.';
CREATE INDEX "linkChanges_eventGuid" ON "linkChanges" ("eventGuid");

ALTER TABLE "profileMerges"
    ALTER "userId" DROP NOT NULL,
    DROP CONSTRAINT "profileMerges_reason_check",
    ADD CONSTRAINT "profileMerges_reason_check"
        CHECK (reason IN ('claimed', 'merged', 'moved', 'unlinked')),
    ADD CONSTRAINT "only an unlink has no user" CHECK ("userId" IS NOT NULL OR reason = 'unlinked');
COMMENT ON TABLE "profileMerges" IS
    'claimed: the anonymous profile became the user''s, same guid, no loser. merged: the anonymous '
    'profile (loser) went into the user''s. moved: an earlier link took the anonymousId''s events '
    'from one user (loser, who stays) to another. unlinked: an operator ignored the link, and the '
    'anonymousId''s events went from its user (loser, who stays) to the next owner or, without one, '
    'to a new anonymous profile.';

-- The new anonymous profile may have no event, but it has properties, such as the number of its events.
CREATE FUNCTION "noteUnlinks"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO "eventChanges" (kind, size, profiles) VALUES ('left', 1, ARRAY[NEW."survivorGuid"]);
    RETURN NULL;
END
$$;
CREATE TRIGGER "noteUnlinks" AFTER INSERT ON "profileMerges"
    FOR EACH ROW WHEN (NEW.reason = 'unlinked') EXECUTE FUNCTION "noteUnlinks"();
SELECT "takeNotes"(EXISTS (SELECT FROM "profilePropertyRules"));
