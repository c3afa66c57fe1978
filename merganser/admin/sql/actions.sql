-- record_action --
INSERT INTO actions (source, actor, action, subject, reason, counts)
VALUES (%(source)s, %(actor)s, %(action)s, %(subject)s, %(reason)s, %(counts)s);

-- list_actions --
-- Return the newest actions before a place in the order; a filter that is null matches everything.
SELECT guid, "createdAt", source, actor, action, subject, reason, counts
FROM actions
WHERE ("createdAt", guid) < (%(before_time)s::timestamptz, %(before_guid)s::text)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s)
ORDER BY "createdAt" DESC, guid DESC
LIMIT %(limit)s;
