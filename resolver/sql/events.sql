-- stored --
-- Which of a batch's events are in the table already: delivered twice.
SELECT guid FROM events WHERE guid = ANY(%(guids)s::text[]);

-- copy_events --
COPY events (
    guid, "producerGuid", "ipAddress", "profileGuid", "createdAt", "occurredAt",
    type, "userId", "anonymousId"
) FROM STDIN (NULL '');

-- copy_data --
COPY "eventData" (guid, "eventGuid", key, value) FROM STDIN;
