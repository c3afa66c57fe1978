-- What the read API asks for (docs/api.md). Each index costs every writer, so each says why. They end
-- with the guid, which triples them, because rows of one INSERT often are of one time: a page that
-- starts among a million events of a moment must not read and sort them all.

-- The newest events of all. It is the only one with nulls first, so that Postgres can take it for no
-- query whose events are of one profile or type (see api/sql/events.sql).
CREATE INDEX "events_occurredAt_guid" ON events ("occurredAt" NULLS FIRST, guid);
-- The newest events of a type, which types there are, and how many events in a time.
CREATE INDEX "events_type_occurredAt_guid" ON events (type, "occurredAt", guid);
-- A profile's timeline, in place of the one without the guid.
CREATE INDEX "events_profileGuid_occurredAt_guid" ON events ("profileGuid", "occurredAt", guid);
DROP INDEX "events_profileGuid_occurredAt";

-- A profile's merges by time, in place of the two that led to them in no order.
CREATE INDEX "profileMerges_survivorGuid_createdAt"
    ON "profileMerges" ("survivorGuid", "createdAt", "anonymousId", "eventGuid");
CREATE INDEX "profileMerges_loserGuid_createdAt"
    ON "profileMerges" ("loserGuid", "createdAt", "anonymousId", "eventGuid");
DROP INDEX "profileMerges_survivorGuid";
DROP INDEX "profileMerges_loserGuid";

-- What no reader could show: a time that programs do not know, a guid that cannot stand in a path.
ALTER TABLE events
    ADD CONSTRAINT "updatedAt lies in the years 1 to 9999" CHECK (
        "updatedAt" BETWEEN '0001-01-01 00:00Z' AND '9999-12-31 23:59:59.999999Z'
    ),
    ADD CONSTRAINT "guid has no slash" CHECK (strpos(guid, '/') = 0);
