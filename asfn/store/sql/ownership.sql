-- Every statement of sqlite_ownership.py, by name: engines, and which of them runs what. Lists come as one JSON array.

-- name: read_engine_epoch
-- The fence: asked first in every transaction of an engine. And whether any message stands, which is rare.
SELECT epoch, EXISTS (SELECT 1 FROM inbox) FROM engines WHERE id = :id;

-- name: insert_engine
-- No row: the file is used with another codec, or with one at last, since it was opened.
INSERT INTO engines (epoch, lease_until, registered_at)
SELECT 1, :lease_until, :now WHERE (SELECT name FROM codec) IS :codec
RETURNING id;

-- name: renew_engine
-- No row: another engine took over.
UPDATE engines SET lease_until = :lease_until WHERE id = :id AND epoch = :epoch RETURNING id;

-- name: select_engines
SELECT id, epoch, lease_until FROM engines ORDER BY id;

-- name: fence_engines
UPDATE engines SET epoch = epoch + 1 WHERE id IN (SELECT value FROM json_each(:ids));

-- name: delete_engines
DELETE FROM engines WHERE id IN (SELECT value FROM json_each(:ids));

-- name: disown_executions
UPDATE executions NOT INDEXED SET owner = NULL
WHERE key IN (
    SELECT key FROM executions INDEXED BY executions_owner WHERE status = 'RUNNING' AND owner = :id LIMIT :limit
)
RETURNING 1;

-- name: select_owners
-- The different owners of running executions: one step in the index for each, however many executions they have.
WITH RECURSIVE owners (id) AS (
    SELECT (SELECT min(owner) FROM executions INDEXED BY executions_owner WHERE status = 'RUNNING' AND owner > 0)
    UNION ALL
    SELECT (
        SELECT min(owner) FROM executions INDEXED BY executions_owner WHERE status = 'RUNNING' AND owner > owners.id
    )
    FROM owners WHERE owners.id IS NOT NULL
)
SELECT id FROM owners WHERE id IS NOT NULL;

-- name: select_orphans
SELECT key FROM executions INDEXED BY executions_owner
WHERE status = 'RUNNING' AND owner IN (SELECT value FROM json_each(:gone)) LIMIT :limit;

-- name: select_free
SELECT key FROM executions INDEXED BY executions_free
WHERE status = 'RUNNING' AND owner IS NULL AND wake_at IS NULL AND place IS NULL ORDER BY started_at LIMIT :limit;

-- name: select_due
SELECT key FROM executions INDEXED BY executions_wake
WHERE wake_at IS NOT NULL AND wake_at <= :now ORDER BY wake_at LIMIT :limit;

-- name: select_ownerless
SELECT key FROM executions NOT INDEXED
WHERE key IN (SELECT value FROM json_each(:keys)) AND status = 'RUNNING' AND owner IS NULL
ORDER BY started_at, key;

-- name: take_over
UPDATE executions NOT INDEXED SET owner = :id, wake_at = NULL, place = NULL, limited = limited OR (
    place IS NOT NULL AND EXISTS (
        SELECT 1 FROM state_machines m INDEXED BY state_machines_limited
        WHERE m.arn = executions.state_machine_arn AND m.max_concurrent_executions IS NOT NULL
    )
)
WHERE key IN (SELECT value FROM json_each(:keys));

-- name: pause_queued
UPDATE executions NOT INDEXED SET paused = :paused
WHERE key = :key AND status = 'RUNNING' AND place IS NOT NULL RETURNING key;

-- name: select_next_wake
SELECT wake_at FROM executions INDEXED BY executions_wake WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1;

-- name: count_parked
SELECT count(*) FROM (SELECT 1 FROM executions INDEXED BY executions_wake
    WHERE wake_at IS NOT NULL AND place IS NULL LIMIT :limit);

-- name: count_queued
SELECT count(*) FROM (SELECT 1 FROM executions INDEXED BY executions_queue WHERE place IS NOT NULL LIMIT :limit);

-- name: select_queue_head
-- Nothing when nothing is queued; otherwise a machine that must be counted first, NULL: none.
SELECT (
    SELECT arn FROM state_machines INDEXED BY state_machines_limited
    WHERE max_concurrent_executions IS NOT NULL AND counted = 0 LIMIT 1
)
FROM executions INDEXED BY executions_queue WHERE place IS NOT NULL LIMIT 1;

-- name: select_counted
SELECT counted FROM state_machines WHERE arn = :arn;

-- name: select_machine_running
SELECT key, started_at FROM executions INDEXED BY executions_machine_status
WHERE state_machine_arn = :arn AND status = 'RUNNING' AND (started_at, key) > (:after_at, :after_key)
ORDER BY started_at, key LIMIT :limit;

-- name: limit_executions
UPDATE executions NOT INDEXED SET limited = 1
WHERE key IN (SELECT value FROM json_each(:keys)) AND limited = 0 AND place IS NULL;

-- name: mark_counted
UPDATE state_machines SET counted = 1 WHERE arn = :arn;

-- name: select_rooms
-- The state machines that have queued executions, one step in the index for each, and how many of them may begin now
-- (-1: any number). Machines that are full are left out, however long their queues are.
WITH RECURSIVE waiting (arn) AS (
    SELECT (SELECT min(state_machine_arn) FROM executions INDEXED BY executions_queue WHERE place IS NOT NULL)
    UNION ALL
    SELECT (
        SELECT min(state_machine_arn) FROM executions INDEXED BY executions_queue
        WHERE place IS NOT NULL AND state_machine_arn > waiting.arn
    )
    FROM waiting WHERE waiting.arn IS NOT NULL
), rooms (arn, room) AS (
    SELECT w.arn, CASE WHEN m.max_concurrent_executions IS NULL THEN -1 ELSE max(0, m.max_concurrent_executions - (
        SELECT count(*) FROM executions x INDEXED BY executions_limited
        WHERE x.state_machine_arn = w.arn AND x.limited = 1 AND x.status = 'RUNNING' AND x.place IS NULL
    )) END
    FROM waiting w LEFT JOIN state_machines m ON m.arn = w.arn
    WHERE w.arn IS NOT NULL AND m.counted IS NOT 0
)
SELECT arn, room FROM rooms WHERE room <> 0;

-- name: select_admissible
-- :rooms holds [machine, room] arrays. The queues of the machines are merged: the head of each goes in, the best of all
-- heads comes out and is followed by the next of its queue, until the machine's room or the limit is used up.
WITH RECURSIVE heads (place, started_at, key, arn, room) AS (
    SELECT x.place, x.started_at, x.key, x.state_machine_arn, json_extract(r.value, '$[1]')
    FROM json_each(:rooms) r CROSS JOIN executions x ON x.key = (
        SELECT n.key FROM executions n INDEXED BY executions_queue
        WHERE n.state_machine_arn = json_extract(r.value, '$[0]') AND n.place IS NOT NULL
        ORDER BY n.place, n.started_at, n.key LIMIT 1
    )
    UNION ALL
    SELECT x.place, x.started_at, x.key, h.arn, h.room - 1
    FROM heads h CROSS JOIN executions x ON x.key = coalesce((
        SELECT n.key FROM executions n INDEXED BY executions_queue
        WHERE n.state_machine_arn = h.arn AND n.place = h.place AND (n.started_at, n.key) > (h.started_at, h.key)
        ORDER BY n.started_at, n.key LIMIT 1
    ), (
        SELECT n.key FROM executions n INDEXED BY executions_queue
        WHERE n.state_machine_arn = h.arn AND n.place > h.place
        ORDER BY n.place, n.started_at, n.key LIMIT 1
    ))
    WHERE h.room <> 1
    ORDER BY 1, 2, 3
    LIMIT :limit
)
SELECT key FROM heads;
