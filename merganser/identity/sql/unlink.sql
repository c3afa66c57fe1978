-- read_link --
-- An event with a profile and two ids that name somebody; "createdAt" if it came over a publishable key;
-- whether it was pruned. A pruned event is known while it is the earliest link of an anonymousId.
SELECT events.guid, coalesce(events."occurredAt", events."createdAt"),
    events."userId", events."anonymousId",
    CASE WHEN keys.guid IS NOT NULL THEN events."createdAt" END, false
FROM events
LEFT JOIN "apiKeys" AS keys ON keys.guid = events."producerGuid" AND keys.kind = 'publishable'
WHERE events.guid = %(event)s
    AND lower(btrim(events."userId", %(space)s)) <> ALL(%(nobody)s)
    AND lower(btrim(events."anonymousId", %(space)s)) <> ALL(%(nobody)s)
    AND events."profileGuid" IS NOT NULL
    AND events."profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)
UNION ALL
SELECT "linkEventGuid", coalesce("linkOccurredAt", "linkedAt"), "userId", "anonymousId",
    CASE WHEN "linkOccurredAt" IS NOT NULL THEN "linkedAt" END, true
FROM "anonymousIds"
WHERE "linkEventGuid" = %(event)s AND NOT EXISTS (SELECT FROM events WHERE guid = %(event)s);

-- read_same_links --
-- The stored events with these two ids, like `read_link`.
SELECT events.guid, coalesce(events."occurredAt", events."createdAt"),
    events."userId", events."anonymousId",
    CASE WHEN keys.guid IS NOT NULL THEN events."createdAt" END
FROM events
LEFT JOIN "apiKeys" AS keys ON keys.guid = events."producerGuid" AND keys.kind = 'publishable'
WHERE events."anonymousId" = %(anonymous_id)s
    AND events."userId" = %(user_id)s
    AND events."profileGuid" IS NOT NULL
    AND events."profileGuid" NOT IN (SELECT "profileGuid" FROM erasures);

-- read_next_link --
-- The earliest link of an anonymousId that is not ignored, with the profile of its user.
SELECT "linkedAt", "occurredAt", links.guid, links."userId", profiles.guid
FROM (
    SELECT events.guid, events."userId", events."profileGuid",
        CASE
            WHEN keys.guid IS NOT NULL THEN events."createdAt"
            ELSE coalesce(events."occurredAt", events."createdAt")
        END AS "linkedAt",
        coalesce(events."occurredAt", events."createdAt") AS "occurredAt"
    FROM events
    LEFT JOIN "apiKeys" AS keys ON keys.guid = events."producerGuid" AND keys.kind = 'publishable'
    WHERE events."anonymousId" = %(anonymous_id)s
        AND events."profileGuid" IS NOT NULL
        AND lower(btrim(events."userId", %(space)s)) <> ALL(%(nobody)s)
        AND NOT EXISTS (SELECT FROM "ignoredLinks" WHERE "eventGuid" = events.guid)
        AND events."profileGuid" NOT IN (SELECT "profileGuid" FROM erasures)
) AS links
JOIN profiles ON profiles."userId" = links."userId"
ORDER BY "linkedAt", "occurredAt", links.guid
LIMIT 1;

-- new_profile_guid --
SELECT "newGuid"('pro_');

-- ignore --
-- Returns the events that were not ignored already.
INSERT INTO "ignoredLinks" SELECT unnest(%(events)s::text[]) ON CONFLICT DO NOTHING RETURNING "eventGuid";

-- stop_ignoring --
-- Returns the events that were ignored.
DELETE FROM "ignoredLinks" WHERE "eventGuid" = ANY(%(events)s::text[]) RETURNING "eventGuid";

-- count_own_events --
-- Events of an anonymousId on a profile, without those that their userId puts there.
SELECT count(*)
FROM events
LEFT JOIN profiles ON profiles.guid = events."profileGuid"
WHERE events."profileGuid" = %(profile)s
    AND events."anonymousId" = %(anonymous_id)s
    AND (profiles."userId" IS NULL OR events."userId" IS DISTINCT FROM profiles."userId");

-- write_trail --
INSERT INTO "linkChanges" ("eventGuid", action, actor, reason)
SELECT event, %(action)s, %(actor)s, %(reason)s FROM unnest(%(events)s::text[]) AS changed(event)
RETURNING guid;

-- read_changes --
-- The event and the reason of these rows of the trail.
SELECT guid, "eventGuid", reason FROM "linkChanges" WHERE guid = ANY(%(guids)s::text[]);

-- read_trail --
-- What operators did with an event as a link, newest first.
SELECT action, actor, reason, "createdAt"
FROM "linkChanges" WHERE "eventGuid" = %(event)s
ORDER BY "createdAt" DESC, guid DESC
LIMIT %(at_most)s;

-- read_ignored --
-- Which of these events are ignored as links.
SELECT "eventGuid" FROM "ignoredLinks" WHERE "eventGuid" = ANY(%(events)s::text[]);
