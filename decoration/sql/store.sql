-- hold_rules --
-- Which of these revisions still apply. They stay so until the transaction ends.
SELECT revision FROM "profilePropertyRules"
WHERE revision = ANY(%(revisions)s)
ORDER BY key
FOR KEY SHARE;

-- hold_profiles --
-- Which of these profiles still are these users'. They stay so until the transaction ends. Nobody
-- who writes events waits for this: they change and delete profiles of nobody only.
SELECT profiles.guid
FROM unnest(%(profiles)s::text[], %(user_ids)s::text[]) AS asked(profile, user_id)
JOIN profiles ON profiles.guid = asked.profile AND profiles."userId" = asked.user_id
ORDER BY profiles.guid
FOR KEY SHARE OF profiles;

-- forget_failures --
-- Values that were set aside and now are read, whatever operators did about them.
DELETE FROM "setAside"
WHERE kind = 'value'
    AND subject = ANY(%(profiles)s::text[])
    AND place = ANY(%(keys)s::text[])
    AND NOT EXISTS (
        SELECT
        FROM unnest(%(failed_profiles)s::text[], %(failed_keys)s::text[]) AS failed(profile, key)
        WHERE failed.profile = subject AND failed.key = place
    );
