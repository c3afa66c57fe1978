-- known --
-- Which of a batch's events are not to be stored, and whether because they are in the table already,
-- delivered twice; else they were deleted. While nothing is remembered as deleted nothing is hashed.
SELECT guid, true FROM events WHERE guid = ANY(%(guids)s::text[])
UNION ALL
SELECT named.guid, false
FROM unnest(%(guids)s::text[]) AS named(guid)
JOIN "deletedEvents" ON hash = "suppressionHash"('event', named.guid)
WHERE EXISTS (SELECT FROM "deletedEvents");

-- copy_events --
COPY events (
    guid, "producerGuid", "ipAddress", "profileGuid", "createdAt", "occurredAt",
    type, "userId", "anonymousId"
) FROM STDIN (NULL '');

-- copy_data --
COPY "eventData" (guid, "eventGuid", key, value) FROM STDIN;
