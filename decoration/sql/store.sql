-- lock_profiles --
-- Lock and return the profiles that still have this userId. Writers of events do not wait for this:
-- they change and delete anonymous profiles only.
SELECT profiles.guid
FROM unnest(%(profiles)s::text[], %(user_ids)s::text[]) AS queried(profile, user_id)
JOIN profiles ON profiles.guid = queried.profile AND profiles."userId" = queried.user_id
ORDER BY profiles.guid
FOR KEY SHARE OF profiles;
