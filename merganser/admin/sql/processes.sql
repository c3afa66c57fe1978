-- read_processes --
-- Who is connected to this database, by the name that each connection has: `merganser PROCESS PURPOSE VERSION`.
-- Other roles' addresses and times are null without the privileges of pg_read_all_stats.
SELECT
    split_part(application_name, ' ', 2) AS process,
    substring(application_name FROM ' (\d\S*)$') AS version,
    host(client_addr) AS address,
    count(*),
    min(backend_start)
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'merganser %%'
GROUP BY process, version, address
ORDER BY process, version, address;
