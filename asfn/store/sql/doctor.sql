-- Every statement of doctor.py, by name. It reads whole tables: nothing here is asked by a running engine.

-- name: count_executions
SELECT count(*), count(*) FILTER (WHERE status = 'RUNNING') FROM executions;

-- name: select_codec
SELECT name, probe FROM codec;

-- name: select_wrong_ends
SELECT arn, status FROM executions WHERE (status = 'RUNNING') <> (stopped_at IS NULL);

-- name: select_lost_inputs
SELECT x.arn FROM executions x
WHERE (x.input IS NULL AND NOT EXISTS (
        SELECT 1 FROM payloads p WHERE p.execution = x.key AND p.digest = x.input_digest))
    OR (x.output_digest IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM payloads p WHERE p.execution = x.key AND p.digest = x.output_digest));

-- name: select_texts
SELECT arn, input, output, error, cause FROM executions;

-- name: select_without_history
SELECT arn, status FROM executions x
WHERE x.status <> 'RUNNING' AND x.type = 'STANDARD' AND NOT EXISTS (SELECT 1 FROM segments s WHERE s.execution = x.key);

-- name: select_without_root
SELECT arn FROM executions x
WHERE x.status = 'RUNNING' AND EXISTS (SELECT 1 FROM segments s WHERE s.execution = x.key)
    AND NOT EXISTS (SELECT 1 FROM frames f WHERE f.execution = x.key AND f.path = '');

-- name: select_segments
SELECT s.execution, x.arn, s.first_id, s.last_id, s.body, s.texts
FROM segments s JOIN executions x ON x.key = s.execution ORDER BY s.execution, s.last_id;

-- name: select_frames
SELECT f.execution, x.arn, f.path, f.body, f.texts FROM frames f JOIN executions x ON x.key = f.execution;

-- name: select_payloads
SELECT p.execution, x.arn, p.digest, p.text FROM payloads p JOIN executions x ON x.key = p.execution;

-- name: select_payload
SELECT 1 FROM payloads WHERE execution = ? AND digest = ?;

-- name: select_definitions
SELECT digest, text FROM definitions;

-- name: select_lost_definitions
SELECT digest, 'state machine ' || arn FROM state_machines m
WHERE NOT EXISTS (SELECT 1 FROM definitions d WHERE d.digest = m.digest)
UNION
SELECT digest, 'executions of ' || state_machine_arn FROM executions x
WHERE NOT EXISTS (SELECT 1 FROM definitions d WHERE d.digest = x.digest);

-- name: select_orphans
-- Rows of executions that are neither there nor being purged.
WITH children (execution, what) AS (
    SELECT DISTINCT execution, 'history' FROM segments UNION ALL
    SELECT DISTINCT execution, 'payloads' FROM payloads UNION ALL
    SELECT DISTINCT execution, 'frames' FROM frames UNION ALL
    SELECT DISTINCT execution, 'task tokens' FROM tokens UNION ALL
    SELECT DISTINCT execution, 'work for activities' FROM activity_tasks UNION ALL
    SELECT DISTINCT execution, 'messages' FROM inbox UNION ALL
    SELECT DISTINCT execution, 'attributes' FROM attributes
)
SELECT execution, group_concat(what, ', ') FROM children c
WHERE NOT EXISTS (SELECT 1 FROM executions x WHERE x.key = c.execution)
    AND NOT EXISTS (SELECT 1 FROM purged g WHERE g.execution = c.execution)
GROUP BY execution;

-- name: repair_orphan
INSERT INTO purged (execution)
SELECT orphan FROM (SELECT ? AS orphan) WHERE NOT EXISTS (SELECT 1 FROM executions WHERE key = orphan)
ON CONFLICT DO NOTHING;

-- name: select_left_frames
-- What ended otherwise keeps its frames, to be redriven.
SELECT x.arn, x.status, count(*) FROM frames f JOIN executions x ON x.key = f.execution
WHERE x.status = 'SUCCEEDED' GROUP BY x.key;

-- name: repair_left_frames
DELETE FROM frames
WHERE (SELECT x.status FROM executions x WHERE x.key = frames.execution) = 'SUCCEEDED';

-- name: select_left_tokens
SELECT x.arn, x.status, count(*) FROM tokens t JOIN executions x ON x.key = t.execution
WHERE x.status <> 'RUNNING' AND (t.state = 'open' OR t.outcome IS NOT NULL) GROUP BY x.key;

-- name: repair_left_tokens
UPDATE tokens SET state = CASE state WHEN 'open' THEN 'closed' ELSE state END, outcome = NULL,
    settled_at = coalesce(settled_at, (SELECT x.stopped_at FROM executions x WHERE x.key = tokens.execution))
WHERE (state = 'open' OR outcome IS NOT NULL)
    AND (SELECT x.status FROM executions x WHERE x.key = tokens.execution) <> 'RUNNING';

-- name: select_left_work
SELECT x.arn, x.status, count(*) FROM activity_tasks a JOIN executions x ON x.key = a.execution
WHERE x.status <> 'RUNNING' GROUP BY x.key;

-- name: repair_left_work
DELETE FROM activity_tasks
WHERE (SELECT x.status FROM executions x WHERE x.key = activity_tasks.execution) <> 'RUNNING';

-- name: select_lost_owners
SELECT arn, owner FROM executions x
WHERE owner IS NOT NULL AND (status <> 'RUNNING' OR NOT EXISTS (SELECT 1 FROM engines e WHERE e.id = x.owner));

-- name: repair_lost_owners
UPDATE executions SET owner = NULL
WHERE owner IS NOT NULL
    AND (status <> 'RUNNING' OR NOT EXISTS (SELECT 1 FROM engines e WHERE e.id = executions.owner));

-- name: select_left_messages
SELECT x.arn, x.status, count(*) FROM inbox i JOIN executions x ON x.key = i.execution
WHERE x.status <> 'RUNNING' GROUP BY x.key;

-- name: repair_left_messages
DELETE FROM inbox WHERE (SELECT x.status FROM executions x WHERE x.key = inbox.execution) <> 'RUNNING';

-- name: select_wrong_places
-- What is parked or queued is RUNNING and nobody's; what is queued has not begun, and only its deadline can wake it.
SELECT arn, CASE WHEN place IS NOT NULL THEN 'queued' ELSE 'parked' END, status, owner FROM executions x
WHERE (wake_at IS NOT NULL AND (status <> 'RUNNING' OR owner IS NOT NULL))
    OR (place IS NOT NULL AND (status <> 'RUNNING' OR owner IS NOT NULL
        OR EXISTS (SELECT 1 FROM frames f WHERE f.execution = x.key)));

-- name: repair_wrong_places
-- An owner goes on with what it owns; what nobody owns is free to be claimed.
UPDATE executions SET wake_at = NULL, place = NULL
WHERE (wake_at IS NOT NULL AND (status <> 'RUNNING' OR owner IS NOT NULL))
    OR (place IS NOT NULL AND (status <> 'RUNNING' OR owner IS NOT NULL
        OR EXISTS (SELECT 1 FROM frames f WHERE f.execution = executions.key)));

-- name: select_unheard
-- Parked executions that would sleep although an outcome, a worker or a message came for them.
SELECT arn FROM executions x
WHERE place IS NULL AND wake_at > min(
    coalesce((SELECT min(t.settled_at) FROM tokens t WHERE t.execution = x.key AND t.outcome IS NOT NULL), 9e999),
    coalesce((SELECT min(a.taken_at) FROM activity_tasks a WHERE a.execution = x.key), 9e999),
    coalesce((SELECT min(i.posted_at) FROM inbox i WHERE i.execution = x.key), 9e999)
);

-- name: repair_unheard
UPDATE executions SET wake_at = 0.0
WHERE place IS NULL AND wake_at > min(
    coalesce((
        SELECT min(t.settled_at) FROM tokens t WHERE t.execution = executions.key AND t.outcome IS NOT NULL
    ), 9e999),
    coalesce((SELECT min(a.taken_at) FROM activity_tasks a WHERE a.execution = executions.key), 9e999),
    coalesce((SELECT min(i.posted_at) FROM inbox i WHERE i.execution = executions.key), 9e999)
);

-- name: select_uncounted
SELECT x.arn FROM executions x JOIN state_machines m ON m.arn = x.state_machine_arn
WHERE x.status = 'RUNNING' AND x.limited = 0 AND x.place IS NULL AND m.max_concurrent_executions IS NOT NULL
    AND m.counted = 1;

-- name: repair_uncounted
UPDATE executions SET limited = 1
WHERE status = 'RUNNING' AND limited = 0 AND place IS NULL AND state_machine_arn IN (
    SELECT arn FROM state_machines WHERE max_concurrent_executions IS NOT NULL
);

-- name: select_engines
-- One that was taken over (epoch above 1) owns nothing any more, and its row goes when its lease has ended.
SELECT e.id, e.lease_until, (SELECT count(*) FROM executions x WHERE x.status = 'RUNNING' AND x.owner = e.id)
FROM engines e
WHERE e.epoch = 1 OR EXISTS (SELECT 1 FROM executions x WHERE x.status = 'RUNNING' AND x.owner = e.id)
ORDER BY e.id;

-- name: repair_engine_executions
UPDATE executions SET owner = NULL, wake_at = NULL WHERE status = 'RUNNING' AND owner = ?;

-- name: repair_engine
DELETE FROM engines WHERE id = ?;
