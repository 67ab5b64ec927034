-- Every statement of sqlite_housekeeping.py, by name: purge, definitions nobody uses, archives. Lists come as one JSON
-- array.

-- name: select_machines_of_executions
-- The different state machines that executions name: one step in the index for each, however many executions they have.
WITH RECURSIVE machines (arn) AS (
    SELECT (SELECT min(state_machine_arn) FROM executions INDEXED BY executions_machine)
    UNION ALL
    SELECT (
        SELECT min(state_machine_arn) FROM executions INDEXED BY executions_machine
        WHERE state_machine_arn > machines.arn
    )
    FROM machines WHERE machines.arn IS NOT NULL
)
SELECT arn FROM machines WHERE arn IS NOT NULL;

-- name: select_finished
-- Oldest start first; those that started in time may have stopped later, which the caller looks at.
SELECT key, started_at, stopped_at FROM executions INDEXED BY executions_machine_status
WHERE state_machine_arn = :state_machine_arn AND status = :status AND started_at < :before
    AND (started_at, key) > (:after_at, :after_key)
ORDER BY started_at, key LIMIT :limit;

-- name: bury_executions
INSERT INTO purged (execution)
SELECT key FROM executions
WHERE key IN (SELECT value FROM json_each(:keys)) AND status <> 'RUNNING' AND stopped_at < :before
RETURNING execution;

-- name: delete_executions
DELETE FROM executions WHERE key IN (SELECT value FROM json_each(:keys));

-- name: select_buried
SELECT execution FROM purged ORDER BY execution LIMIT :limit;

-- name: delete_buried
DELETE FROM purged WHERE execution IN (SELECT value FROM json_each(:keys));

-- name: sweep_segments
DELETE FROM segments WHERE rowid IN (
    SELECT rowid FROM segments WHERE execution IN (SELECT value FROM json_each(:keys)) LIMIT :limit
) RETURNING 1;

-- name: sweep_payloads
DELETE FROM payloads WHERE rowid IN (
    SELECT rowid FROM payloads WHERE execution IN (SELECT value FROM json_each(:keys)) LIMIT :limit
) RETURNING 1;

-- name: sweep_frames
DELETE FROM frames WHERE (execution, path) IN (
    SELECT execution, path FROM frames WHERE execution IN (SELECT value FROM json_each(:keys)) LIMIT :limit
) RETURNING 1;

-- name: sweep_tokens
DELETE FROM tokens WHERE token IN (
    SELECT token FROM tokens WHERE execution IN (SELECT value FROM json_each(:keys)) LIMIT :limit
) RETURNING 1;

-- name: sweep_activity_tasks
DELETE FROM activity_tasks WHERE id IN (
    SELECT id FROM activity_tasks WHERE execution IN (SELECT value FROM json_each(:keys)) LIMIT :limit
) RETURNING 1;

-- name: sweep_inbox
DELETE FROM inbox WHERE id IN (
    SELECT id FROM inbox WHERE execution IN (SELECT value FROM json_each(:keys)) LIMIT :limit
) RETURNING 1;

-- name: sweep_attributes
DELETE FROM attributes WHERE (name, value, started_at, execution) IN (
    SELECT name, value, started_at, execution FROM attributes
    WHERE execution IN (SELECT value FROM json_each(:keys)) LIMIT :limit
) RETURNING 1;

-- name: mark_unused_definitions
INSERT INTO unused_definitions (digest, since)
SELECT d.digest, :now FROM definitions d
WHERE NOT EXISTS (SELECT 1 FROM state_machines m WHERE m.digest = d.digest)
    AND NOT EXISTS (SELECT 1 FROM executions x WHERE x.digest = d.digest)
ON CONFLICT DO NOTHING;

-- name: unmark_used_definitions
DELETE FROM unused_definitions
WHERE EXISTS (SELECT 1 FROM state_machines m WHERE m.digest = unused_definitions.digest)
    OR EXISTS (SELECT 1 FROM executions x WHERE x.digest = unused_definitions.digest);

-- name: select_unused_definitions
-- While an engine is registered, only those that were marked before :since: it may be about to use a newer one.
SELECT digest FROM unused_definitions
WHERE since <= :since OR NOT EXISTS (SELECT 1 FROM engines)
LIMIT :limit;

-- name: delete_definitions
DELETE FROM definitions WHERE digest IN (SELECT value FROM json_each(:digests));

-- name: delete_unused_marks
DELETE FROM unused_definitions WHERE digest IN (SELECT value FROM json_each(:digests));

-- name: select_tokens_of_execution
SELECT t.token, t.execution, t.path, t.created_at, t.state, t.outcome, t.heartbeat_at, t.settled_at,
    a.worker_name, a.taken_at
FROM tokens t LEFT JOIN activity_tasks a ON a.token = t.token
WHERE t.execution = :key ORDER BY t.created_at, t.token;

-- name: select_work_of_execution
SELECT token, activity_arn, execution, input, scheduled_at FROM activity_tasks WHERE execution = :key ORDER BY id;

-- name: select_messages_of_execution
SELECT execution, kind, body, posted_at, id FROM inbox WHERE execution = :key ORDER BY id;

-- name: insert_archived_message
INSERT INTO inbox (execution, kind, body, posted_at) VALUES (?, ?, ?, ?);

-- name: insert_archived_token
INSERT INTO tokens (token, execution, path, created_at, state, outcome, heartbeat_at, settled_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_archived_work
INSERT INTO activity_tasks (token, activity_arn, execution, input, scheduled_at, worker_name, taken_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: select_tokens_taken
-- Which of these tokens the file has already.
SELECT token FROM tokens WHERE token IN (SELECT value FROM json_each(:tokens));
