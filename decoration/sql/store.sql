-- lock_rules --
-- Lock and return the revisions that still apply.
SELECT revision FROM "profilePropertyRules"
WHERE revision = ANY(%(revisions)s)
ORDER BY key
FOR KEY SHARE;

-- lock_profiles --
-- Lock and return the profiles that still have this userId. Writers of events do not wait for this:
-- they change and delete anonymous profiles only.
SELECT profiles.guid
FROM unnest(%(profiles)s::text[], %(user_ids)s::text[]) AS queried(profile, user_id)
JOIN profiles ON profiles.guid = queried.profile AND profiles."userId" = queried.user_id
ORDER BY profiles.guid
FOR KEY SHARE OF profiles;

-- delete_readable --
-- Delete values that were set aside and can be read now, whatever their state is.
DELETE FROM "setAside"
WHERE kind = 'value'
    AND subject = ANY(%(profiles)s::text[])
    AND place = ANY(%(keys)s::text[])
    AND NOT EXISTS (
        SELECT
        FROM unnest(%(failed_profiles)s::text[], %(failed_keys)s::text[]) AS failed(profile, key)
        WHERE failed.profile = subject AND failed.key = place
    );

-- read_attempts --
-- Return how often the values of a profile were set aside.
SELECT coalesce(max(attempts), 0)
FROM "setAside"
WHERE kind = 'value' AND subject = %(profile)s AND place = ANY(%(keys)s::text[]);
