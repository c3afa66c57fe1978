-- find_known --
-- The events of a batch that must not be stored: true if the event is in the table (it was delivered
-- twice), false if it was deleted. Hashes nothing while "deletedEvents" is empty.
SELECT guid, true FROM events WHERE guid = ANY(%(guids)s::text[])
UNION ALL
SELECT batch.guid, false
FROM unnest(%(guids)s::text[]) AS batch(guid)
JOIN "deletedEvents" ON hash = "suppressionHash"('event', batch.guid)
WHERE EXISTS (SELECT FROM "deletedEvents");

-- copy_events --
-- The columns of `copy_format.encode_events`.
COPY events (
    guid, "producerGuid", "ipAddress", "profileGuid", "createdAt", "occurredAt",
    type, "userId", "anonymousId"
) FROM STDIN (NULL '');

-- copy_event_data --
-- The columns of `copy_format.encode_event_data`.
COPY "eventData" (guid, "eventGuid", key, value) FROM STDIN;
