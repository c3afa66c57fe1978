-- find_known --
-- The events of a batch that must not be stored: with "createdAt" if the event is in the table (it was
-- delivered twice), without if it was deleted. Hashes nothing while "deletedEvents" is empty.
SELECT guid, "createdAt" FROM events WHERE guid = ANY(%(guids)s::text[])
UNION ALL
SELECT batch.guid, NULL
FROM unnest(%(guids)s::text[]) AS batch(guid)
JOIN "deletedEvents" ON hash = "suppressionHash"('event', batch.guid)
WHERE EXISTS (SELECT FROM "deletedEvents");

-- lock_links --
-- Those of these stored events that have both ids, and whether they have a profile. Locks them, so that no
-- scanner resolves one with the "createdAt" that this transaction changes.
SELECT guid, "occurredAt", "userId", "anonymousId", "producerGuid", "profileGuid" IS NOT NULL
FROM events
WHERE guid = ANY(%(guids)s::text[]) AND "userId" IS NOT NULL AND "anonymousId" IS NOT NULL
ORDER BY guid
FOR NO KEY UPDATE;

-- set_earlier_receipts --
-- Events that were received earlier than their rows say.
UPDATE events
SET "createdAt" = received.at, "updatedAt" = now()
FROM unnest(%(guids)s::text[], %(times)s::timestamptz[]) AS received(guid, at)
WHERE events.guid = received.guid AND events."createdAt" > received.at;

-- copy_events --
-- The columns of `copy_format.encode_events`.
COPY events (
    guid, "producerGuid", "ipAddress", "profileGuid", "createdAt", "occurredAt",
    type, "userId", "anonymousId"
) FROM STDIN (NULL '');

-- copy_event_data --
-- The columns of `copy_format.encode_event_data`.
COPY "eventData" ("eventGuid", key, value, guid) FROM STDIN;
