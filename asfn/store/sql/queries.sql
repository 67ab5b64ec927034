-- Every statement of sqlite.py, by name. Lists of keys, ids and texts come as one JSON array, so that a statement
-- never changes with its arguments and stays prepared.

-- name: read_engine_epoch
-- The fence: asked first in every transaction of an engine.
SELECT epoch FROM engines WHERE id = :id;

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
UPDATE executions SET owner = NULL WHERE status = 'RUNNING' AND owner = :id;

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

-- name: claim_orphans
UPDATE executions INDEXED BY executions_owner SET owner = :id, wake_at = NULL
WHERE status = 'RUNNING' AND owner IN (SELECT value FROM json_each(:gone))
RETURNING key;

-- name: claim_unowned
UPDATE executions INDEXED BY executions_owner SET owner = :id, wake_at = NULL
WHERE status = 'RUNNING' AND owner IS NULL
RETURNING key;

-- name: insert_definition
INSERT INTO definitions (digest, text) VALUES (:digest, :text) ON CONFLICT DO NOTHING;

-- name: unmark_definition
-- Somebody is about to use it: see forget_definitions in housekeeping.sql.
DELETE FROM unused_definitions WHERE digest = :digest;

-- name: select_definition
SELECT text FROM definitions WHERE digest = :digest;

-- name: upsert_state_machine
INSERT INTO state_machines (arn, name, type, digest, role_arn, created_at, updated_at, revision_id, retention_days)
VALUES (:arn, :name, :type, :digest, :role_arn, :created_at, :updated_at, :revision_id, :retention_days)
ON CONFLICT (arn) DO UPDATE SET
    name = excluded.name, type = excluded.type, digest = excluded.digest, role_arn = excluded.role_arn,
    created_at = excluded.created_at, updated_at = excluded.updated_at, revision_id = excluded.revision_id,
    retention_days = excluded.retention_days;

-- name: delete_state_machine
DELETE FROM state_machines WHERE arn = :arn;

-- name: select_state_machine
SELECT arn, name, type, digest, role_arn, created_at, updated_at, revision_id, retention_days
FROM state_machines WHERE arn = :arn;

-- name: select_state_machines
SELECT arn, name, type, digest, role_arn, created_at, updated_at, revision_id, retention_days
FROM state_machines ORDER BY name, arn;

-- name: select_executions
-- The head of every query for whole rows, in the order of ExecutionRow; sqlite.py puts a WHERE behind it.
SELECT x.key, x.arn, x.name, x.state_machine_arn, x.digest, x.type, x.role_arn,
    coalesce(x.input, (SELECT text FROM payloads p WHERE p.execution = x.key AND p.digest = x.input_digest)),
    x.started_at, x.status, x.stopped_at,
    coalesce(x.output, (SELECT text FROM payloads p WHERE p.execution = x.key AND p.digest = x.output_digest)),
    x.error, x.cause, x.failed_state, x.redrive_count, x.redriven_at, x.owner, x.wake_at,
    (SELECT json_group_object(t.name, t.value) FROM attributes t WHERE t.execution = x.key),
    x.paused, x.redrive_tokens
FROM executions x;

-- name: select_standings
-- What decides whether a Progress may write: who owns the execution, and the last event it has.
SELECT x.key, x.status, x.owner,
    (SELECT s.last_id FROM segments s WHERE s.execution = x.key ORDER BY s.last_id DESC LIMIT 1)
FROM executions x WHERE x.key IN (SELECT value FROM json_each(:keys));

-- name: insert_execution
INSERT INTO executions (key, arn, name, state_machine_arn, digest, type, role_arn, input, input_digest, started_at,
    status, stopped_at, output, output_digest, error, cause, failed_state, redrive_count, redriven_at, owner, wake_at,
    paused, redrive_tokens)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

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
WITH final (key, status, stopped_at, output, output_digest, error, cause, failed_state) AS (
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
)
UPDATE executions
SET status = final.status, stopped_at = final.stopped_at, output = final.output, output_digest = final.output_digest,
    error = final.error, cause = final.cause, failed_state = final.failed_state, owner = NULL, wake_at = NULL, paused = 0
FROM final WHERE executions.key = final.key;

-- name: redrive_execution
WITH redriven (key, count, at, owner, tokens) AS (VALUES (?, ?, ?, ?, ?))
UPDATE executions
SET status = 'RUNNING', stopped_at = NULL, error = NULL, cause = NULL, failed_state = NULL,
    redrive_count = redriven.count, redriven_at = redriven.at, owner = redriven.owner, redrive_tokens = redriven.tokens
FROM redriven WHERE executions.key = redriven.key;

-- name: pause_execution
WITH change (key, paused) AS (VALUES (?, ?))
UPDATE executions SET paused = change.paused FROM change WHERE executions.key = change.key;

-- name: park_execution
WITH parked (key, wake_at) AS (VALUES (?, ?))
UPDATE executions SET owner = NULL, wake_at = parked.wake_at FROM parked WHERE executions.key = parked.key;

-- name: select_frames
SELECT path, body, texts FROM frames WHERE execution = :key;

-- name: select_last_event_id
SELECT last_id FROM segments WHERE execution = :key ORDER BY last_id DESC LIMIT 1;

-- name: select_segments
SELECT first_id, last_id, body, texts FROM segments
WHERE execution = :key AND last_id > :after_id ORDER BY last_id LIMIT :limit;

-- name: select_payloads
SELECT digest, text FROM payloads WHERE execution = :key AND digest IN (SELECT value FROM json_each(:digests));
