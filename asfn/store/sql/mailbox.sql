-- Every statement of sqlite_mailbox.py, by name: tokens, activities and their work, messages. Lists come as one JSON array.

-- name: insert_token
INSERT INTO tokens (token, execution, path, state, created_at) VALUES (?, ?, ?, ?, ?);

-- name: close_token
-- The task has moved on: what came of the token is not needed any more.
WITH closed (token, at) AS (VALUES (?, ?))
UPDATE tokens
SET state = CASE state WHEN 'open' THEN 'closed' ELSE state END, outcome = NULL,
    settled_at = coalesce(settled_at, closed.at)
FROM closed WHERE tokens.token = closed.token;

-- name: settle_tokens
-- :settlements holds [token, state, outcome, at, unless_beat_after] arrays, each token once.
UPDATE tokens
SET state = json_extract(s.value, '$[1]'), outcome = json_extract(s.value, '$[2]'),
    settled_at = json_extract(s.value, '$[3]')
FROM json_each(:settlements) s
WHERE tokens.token = json_extract(s.value, '$[0]') AND tokens.state = 'open'
    AND (json_extract(s.value, '$[4]') IS NULL OR tokens.heartbeat_at IS NULL
         OR tokens.heartbeat_at <= json_extract(s.value, '$[4]'))
RETURNING tokens.token;

-- name: beat_tokens
UPDATE tokens SET heartbeat_at = max(:now, coalesce(heartbeat_at, :now))
WHERE token IN (SELECT value FROM json_each(:tokens)) AND state = 'open';

-- name: select_tokens
SELECT t.token, t.execution, t.path, t.created_at, t.state, t.outcome, t.heartbeat_at, t.settled_at,
    a.worker_name, a.taken_at
FROM tokens t LEFT JOIN activity_tasks a ON a.token = t.token
WHERE t.token IN (SELECT value FROM json_each(:tokens));

-- name: select_token_news
SELECT token FROM tokens INDEXED BY tokens_outcome WHERE outcome IS NOT NULL
UNION
SELECT token FROM activity_tasks INDEXED BY activity_tasks_taken WHERE taken_at IS NOT NULL;

-- name: insert_activity
INSERT INTO activities (arn, name, created_at) VALUES (:arn, :name, :created_at) ON CONFLICT DO NOTHING;

-- name: delete_activity
DELETE FROM activities WHERE arn = :arn;

-- name: select_activity
SELECT arn, name, created_at FROM activities WHERE arn = :arn;

-- name: select_activities
SELECT arn, name, created_at FROM activities ORDER BY name, arn;

-- name: insert_activity_task
INSERT INTO activity_tasks (token, activity_arn, execution, input, scheduled_at) VALUES (?, ?, ?, ?, ?);

-- name: delete_activity_task
DELETE FROM activity_tasks WHERE token = ?;

-- name: take_activity_task
UPDATE activity_tasks SET worker_name = :worker_name, taken_at = :now
WHERE id = (
    SELECT id FROM activity_tasks WHERE activity_arn = :activity_arn AND taken_at IS NULL ORDER BY id LIMIT 1
)
RETURNING token, activity_arn, execution, input, scheduled_at;

-- name: give_back_activity_task
UPDATE activity_tasks SET worker_name = NULL, taken_at = NULL WHERE token = :token;

-- name: count_activity_tasks
SELECT activity_arn, count(*) FROM activity_tasks
WHERE taken_at IS NULL AND activity_arn IN (SELECT value FROM json_each(:arns)) GROUP BY activity_arn;

-- name: ring_settled
-- Parked executions have something to do once a token of theirs is settled.
UPDATE executions SET wake_at = min(executions.wake_at, news.at)
FROM (
    SELECT execution, min(settled_at) AS at FROM tokens
    WHERE token IN (SELECT value FROM json_each(:tokens)) GROUP BY execution
) AS news
WHERE executions.key = news.execution AND executions.wake_at IS NOT NULL;

-- name: ring
-- What is queued is not rung: it waits for its turn, or until its deadline.
UPDATE executions NOT INDEXED SET wake_at = min(wake_at, :at)
WHERE key IN (SELECT value FROM json_each(:keys)) AND wake_at IS NOT NULL AND place IS NULL;

-- name: insert_message
INSERT INTO inbox (execution, kind, body, posted_at)
SELECT key, :kind, :body, :at FROM executions WHERE key = :execution AND status = 'RUNNING'
RETURNING id;

-- name: select_messages
SELECT i.execution, i.kind, i.body, i.posted_at, i.id
FROM inbox i CROSS JOIN executions x ON x.key = i.execution
WHERE x.owner = :owner ORDER BY i.id;

-- name: select_message
SELECT execution, kind, body, posted_at, id FROM inbox WHERE id = :id;

-- name: delete_messages
DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(:ids));
