-- read_kinds --
-- Whether each of these API keys is publishable, also of revoked ones.
SELECT guid, kind = 'publishable' FROM "apiKeys" WHERE guid = ANY(%(guids)s::text[]);
