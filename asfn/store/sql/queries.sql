-- Every statement of sqlite.py, by name. Lists of keys, ids and texts come as one JSON array, so that a statement
-- never changes with its arguments and stays prepared.

-- name: insert_definition
INSERT INTO definitions (digest, text) VALUES (:digest, :text) ON CONFLICT DO NOTHING;

-- name: unmark_definition
-- Somebody is about to use it: see forget_definitions in housekeeping.sql.
DELETE FROM unused_definitions WHERE digest = :digest;

-- name: select_definition
SELECT text FROM definitions WHERE digest = :digest;

-- name: upsert_state_machine
-- One that gets a limit while executions of it run is not counted yet.
INSERT INTO state_machines (arn, name, type, digest, role_arn, created_at, updated_at, revision_id, retention_days,
    max_concurrent_executions, counted)
VALUES (:arn, :name, :type, :digest, :role_arn, :created_at, :updated_at, :revision_id, :retention_days,
    :max_concurrent_executions, :max_concurrent_executions IS NULL OR NOT EXISTS (
        SELECT 1 FROM executions INDEXED BY executions_machine_status
        WHERE state_machine_arn = :arn AND status = 'RUNNING'
    ))
ON CONFLICT (arn) DO UPDATE SET
    name = excluded.name, type = excluded.type, digest = excluded.digest, role_arn = excluded.role_arn,
    created_at = excluded.created_at, updated_at = excluded.updated_at, revision_id = excluded.revision_id,
    retention_days = excluded.retention_days, max_concurrent_executions = excluded.max_concurrent_executions,
    counted = CASE
        WHEN excluded.max_concurrent_executions IS NOT NULL AND max_concurrent_executions IS NOT NULL THEN counted
        ELSE excluded.counted END;

-- name: delete_state_machine
DELETE FROM state_machines WHERE arn = :arn;

-- name: select_state_machine
SELECT arn, name, type, digest, role_arn, created_at, updated_at, revision_id, retention_days,
    max_concurrent_executions
FROM state_machines WHERE arn = :arn;

-- name: select_state_machines
SELECT arn, name, type, digest, role_arn, created_at, updated_at, revision_id, retention_days,
    max_concurrent_executions
FROM state_machines ORDER BY name, arn;

-- name: select_executions
-- The head of every query for whole rows, in the order of ExecutionRow; sqlite.py puts a WHERE behind it.
SELECT x.key, x.arn, x.name, x.state_machine_arn, x.digest, x.type, x.role_arn,
    coalesce(x.input, (SELECT text FROM payloads p WHERE p.execution = x.key AND p.digest = x.input_digest)),
    x.started_at, x.status, x.stopped_at,
    coalesce(x.output, (SELECT text FROM payloads p WHERE p.execution = x.key AND p.digest = x.output_digest)),
    x.error, x.cause, x.failed_state, x.redrive_count, x.redriven_at, x.owner, x.wake_at,
    (SELECT json_group_object(t.name, t.value) FROM attributes t WHERE t.execution = x.key),
    x.paused, x.redrive_tokens, x.place IS NOT NULL, x.priority
FROM executions x;

-- name: select_standings
-- What decides whether a Progress may write: who owns the execution, and the last event it has.
SELECT x.key, x.status, x.owner,
    (SELECT s.last_id FROM segments s WHERE s.execution = x.key ORDER BY s.last_id DESC LIMIT 1)
FROM executions x WHERE x.key IN (SELECT value FROM json_each(:keys));

-- name: insert_execution
INSERT INTO executions (key, arn, name, state_machine_arn, digest, type, role_arn, input, input_digest, started_at,
    status, stopped_at, output, output_digest, error, cause, failed_state, redrive_count, redriven_at, owner, wake_at,
    paused, redrive_tokens, priority, place, limited)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, EXISTS (
    SELECT 1 FROM state_machines INDEXED BY state_machines_limited
    WHERE arn = ? AND max_concurrent_executions IS NOT NULL
));

-- name: insert_attribute
INSERT INTO attributes (name, value, started_at, execution) VALUES (?, ?, ?, ?);

-- name: insert_payload
INSERT INTO payloads (execution, digest, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: insert_segment
INSERT INTO segments (execution, first_id, last_id, body, texts) VALUES (?, ?, ?, ?, ?);

-- name: delete_frames_below
-- A path and everything below it. Paths from the top up to top || '0' are those that begin with it and go on with a
-- character before '0'; of them only '/' (the last before '0') leads to a child.
WITH dropped (execution, top) AS (VALUES (?, ?))
DELETE FROM frames
WHERE execution = (SELECT execution FROM dropped)
    AND path >= (SELECT top FROM dropped) AND path < (SELECT top || '0' FROM dropped)
    AND (path = (SELECT top FROM dropped) OR path >= (SELECT top || '/' FROM dropped));

-- name: delete_frames
DELETE FROM frames WHERE execution = ?;

-- name: upsert_frame
INSERT INTO frames (execution, path, body, texts) VALUES (?, ?, ?, ?)
ON CONFLICT (execution, path) DO UPDATE SET body = excluded.body, texts = excluded.texts;

-- name: finish_execution
-- With its parameters in place, and not in a table of their own: every execution ends, and that takes a third less.
UPDATE executions
SET status = ?, stopped_at = ?, output = ?, output_digest = ?, error = ?, cause = ?, failed_state = ?, owner = NULL,
    wake_at = NULL, paused = 0, place = NULL
WHERE key = ?;

-- name: redrive_execution
WITH redriven (key, count, at, owner, tokens) AS (VALUES (?, ?, ?, ?, ?))
UPDATE executions
SET status = 'RUNNING', stopped_at = NULL, error = NULL, cause = NULL, failed_state = NULL,
    redrive_count = redriven.count, redriven_at = redriven.at, owner = redriven.owner, redrive_tokens = redriven.tokens,
    limited = EXISTS (
        SELECT 1 FROM state_machines m
        WHERE m.arn = executions.state_machine_arn AND m.max_concurrent_executions IS NOT NULL
    )
FROM redriven WHERE executions.key = redriven.key;

-- name: pause_execution
WITH change (key, paused) AS (VALUES (?, ?))
UPDATE executions SET paused = change.paused FROM change WHERE executions.key = change.key;

-- name: park_execution
-- One that has news waiting is due at once: whoever brought them found nobody to tell.
WITH parked (key, wake_at) AS (VALUES (?, ?))
UPDATE executions SET owner = NULL, wake_at = CASE
    WHEN parked.wake_at IS NULL THEN NULL
    WHEN EXISTS (SELECT 1 FROM tokens t WHERE t.execution = parked.key AND t.outcome IS NOT NULL)
        OR EXISTS (SELECT 1 FROM activity_tasks a WHERE a.execution = parked.key AND a.taken_at IS NOT NULL)
        OR EXISTS (SELECT 1 FROM inbox i WHERE i.execution = parked.key) THEN 0.0
    ELSE parked.wake_at END
FROM parked WHERE executions.key = parked.key;

-- name: select_frames
SELECT path, body, texts FROM frames WHERE execution = :key;

-- name: select_last_event_id
SELECT last_id FROM segments WHERE execution = :key ORDER BY last_id DESC LIMIT 1;

-- name: select_frames_of
SELECT execution, path, body, texts FROM frames WHERE execution IN (SELECT value FROM json_each(:keys));

-- name: select_last_event_ids
SELECT value, coalesce((SELECT max(last_id) FROM segments WHERE execution = value), 0) FROM json_each(:keys);

-- name: select_segments
SELECT first_id, last_id, body, texts FROM segments
WHERE execution = :key AND last_id > :after_id ORDER BY last_id LIMIT :limit;

-- name: select_payloads
SELECT digest, text FROM payloads WHERE execution = :key AND digest IN (SELECT value FROM json_each(:digests));

-- name: delete_messages_of
-- Executions have ended: nothing is asked of them any more.
DELETE FROM inbox WHERE execution IN (SELECT value FROM json_each(:keys));
