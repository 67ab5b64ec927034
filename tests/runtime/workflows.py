"""State machines that put features together which crash recovery could confuse, and how their tasks answer."""

from __future__ import annotations

from typing import Any

from asfn._json import Json, JsonObject
from tests.runtime.lives import Reply, Workflow

LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:"
JOB = "arn:aws:states:::batch:submitJob.sync"


def task(name: str, next: str | None = None, **fields: Json) -> JsonObject:
    """A Task state that calls the function `name`."""
    return {"Type": "Task", "Resource": LAMBDA + name, **_then(next), **fields}


def _then(next: str | None) -> JsonObject:
    return {"End": True} if next is None else {"Next": next}


def machine(*states: tuple[str, JsonObject], **fields: Json) -> JsonObject:
    """A machine that starts with its first state."""
    return {"StartAt": states[0][0], "States": dict(states), **fields}


def parallel(*branches: JsonObject, next: str | None = None, **fields: Json) -> JsonObject:
    return {"Type": "Parallel", "Branches": list(branches), **_then(next), **fields}


def each(processor: JsonObject, concurrency: int = 0, next: str | None = None, **fields: Json) -> JsonObject:
    return {"Type": "Map", "MaxConcurrency": concurrency, "ItemProcessor": processor, **_then(next), **fields}


RETRY: Json = [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2}]


def _flaky_items(state: str, payload: Any, attempt: int) -> Reply:
    """Every second item fails once."""
    if state == "Work" and isinstance(payload, int) and payload % 2 and attempt == 0:
        return Reply(error="Flaky", seconds=0.5)
    return Reply({"did": state, "attempt": attempt}, seconds=1 + (payload if isinstance(payload, int) else 0) / 10)


TASK_IN_MAP_IN_PARALLEL = Workflow(
    "a retried Task in a Map in a Parallel, beside a branch that waits",
    machine(
        ("Before", {"Type": "Pass", "Next": "Both"}),
        (
            "Both",
            parallel(
                machine(("Items", each(machine(("Work", task("work", Retry=RETRY))), 2, ItemsPath="$.items"))),
                machine(
                    ("Rest", {"Type": "Wait", "Seconds": 3, "Next": "Then"}),
                    ("Then", {"Type": "Pass", "Result": {"rested": True}, "ResultPath": "$.rest", "End": True}),
                ),
                machine(("Only", {"Type": "Pass", "Result": "pure", "End": True})),
                next="After",
            ),
        ),
        ("After", task("after")),
    ),
    {"items": [1, 2, 3]},
    _flaky_items,
)

CAUGHT_MAP = Workflow(
    "a Map whose iteration fails for good, caught around it",
    machine(
        (
            "Items",
            each(
                machine(("Work", task("work", Retry=RETRY))),
                next="Recovered",
                Catch=[{"ErrorEquals": ["States.TaskFailed"], "ResultPath": "$.error", "Next": "Recovered"}],
                ItemsPath="$.items",
            ),
        ),
        ("Recovered", task("recover", "Done", Parameters={"error.$": "$.error.Error"})),
        ("Done", {"Type": "Succeed"}),
    ),
    {"items": [0, 2, 4]},
    lambda state, payload, attempt: (
        Reply(error="Broken", seconds=1)
        if payload == 2
        else Reply(seconds=86_400)
        if payload in (0, 4)
        else Reply({"saw": payload})
    ),
)

NESTED_MAPS = Workflow(
    "a Map in a Map, with one and two iterations at once",
    machine(
        (
            "Rows",
            each(
                machine(
                    ("Enter", {"Type": "Pass", "Next": "Columns"}),
                    (
                        "Columns",
                        each(
                            machine(
                                ("Cell", task("cell", "Shape", Retry=RETRY)),
                                ("Shape", {"Type": "Pass", "End": True}),
                            ),
                            1,
                            ItemSelector={"cell.$": "$$.Map.Item.Value", "at.$": "$$.Map.Item.Index"},
                        ),
                    ),
                ),
                2,
                next="Sum",
            ),
        ),
        ("Sum", {"Type": "Pass", "End": True}),
    ),
    [["a", "b"], ["c"], [], ["d", "e"]],
    lambda state, payload, attempt: (
        Reply(error="Flaky")
        if payload["cell"] == "d" and attempt == 0
        else Reply({"cell": payload["cell"]}, seconds=1 + ord(payload["cell"]) % 3)
    ),
)

RETRIED_PARALLEL = Workflow(
    "a Parallel that is retried as a whole because one branch fails twice",
    machine(
        (
            "Both",
            parallel(
                machine(("Quick", task("quick", "Judge")), ("Judge", task("judge"))),
                machine(("Slow", {"Type": "Wait", "Seconds": 50_000, "End": True})),
                Retry=[{"ErrorEquals": ["Wrong"], "IntervalSeconds": 5, "MaxAttempts": 2}],
                Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Mend", "ResultPath": "$.caught"}],
                next="Mend",
            ),
        ),
        ("Mend", task("mend")),
    ),
    {"n": 1},
    lambda state, payload, attempt: Reply(error="Wrong") if state == "Judge" else Reply({"state": state}),
)

VARIABLES = Workflow(
    "variables in nested scopes",
    machine(
        ("Set", {"Type": "Pass", "Assign": {"outer": {"n": 1}, "kept": "yes"}, "Next": "Items"}),
        (
            "Items",
            each(
                machine(
                    ("Take", {"Type": "Pass", "Assign": {"inner.$": "$", "outside.$": "$outer.n"}, "Next": "Work"}),
                    ("Work", task("work", "Use", Assign={"answer.$": "$.did"}, Parameters={"n.$": "$inner"})),
                    ("Use", {"Type": "Wait", "Seconds": 1, "Next": "Both"}),
                    (
                        "Both",
                        parallel(
                            machine(
                                ("Deep", task("deep", Parameters={"a.$": "$answer", "o.$": "$outer", "i.$": "$inner"}))
                            ),
                            machine(("Pure", {"Type": "Pass", "Parameters": {"k.$": "$kept"}, "End": True})),
                        ),
                    ),
                ),
                2,
                Assign={"count.$": "States.ArrayLength($)"},
                next="Last",
            ),
        ),
        ("Last", task("last", Parameters={"count.$": "$count", "outer.$": "$outer", "kept.$": "$kept"})),
    ),
    [10, 20, 30],
    lambda state, payload, attempt: Reply({"did": f"{state} {payload}"}),
)

FAIL_CAUGHT = Workflow(
    "a Fail state in a branch, caught by the Parallel around it",
    machine(
        (
            "Both",
            parallel(
                machine(
                    ("Try", task("try", "Refuse")),
                    ("Refuse", {"Type": "Fail", "Error": "No", "Cause": "not today"}),
                ),
                machine(("Sleep", {"Type": "Wait", "Seconds": 90_000, "End": True})),
                machine(("Again", each(machine(("Long", task("long"))), ItemsPath="$.items"))),
                Catch=[{"ErrorEquals": ["No"], "Next": "Late"}],
            ),
        ),
        ("Late", {"Type": "Wait", "Seconds": 2, "Next": "Say"}),
        ("Say", task("say")),
    ),
    {"items": [1]},
    lambda state, payload, attempt: Reply(seconds=99_000) if state == "Long" else Reply({"state": state}, seconds=2),
)

UNCAUGHT = Workflow(
    "a failure nobody catches, deep inside",
    machine(
        (
            "Both",
            parallel(
                machine(("Items", each(machine(("Work", task("work", "Bad")), ("Bad", task("bad"))), 1))),
            ),
        ),
    ),
    [1, 2],
    lambda state, payload, attempt: (
        Reply(error="Ruin") if state == "Bad" and payload["p"] == 2 else Reply({"p": payload})
    ),
)

PURE_LOOP = Workflow(
    "a loop of pure states, longer than a commit, beside a task",
    machine(
        (
            "Both",
            parallel(
                machine(
                    (
                        "Add",
                        {
                            "Type": "Pass",
                            "Parameters": {"n.$": "States.MathAdd($.n, 1)"},
                            "Next": "Enough",
                        },
                    ),
                    (
                        "Enough",
                        {
                            "Type": "Choice",
                            "Choices": [{"Variable": "$.n", "NumericGreaterThan": 200, "Next": "Out"}],
                            "Default": "Add",
                        },
                    ),
                    ("Out", {"Type": "Pass", "End": True}),
                ),
                machine(("Work", task("work"))),
                next="Tell",
            ),
        ),
        ("Tell", task("tell", Parameters={"n.$": "$[0].n"})),
    ),
    {"n": 0},
    lambda state, payload, attempt: Reply({"state": state}),
)

LARGE_PAYLOADS = Workflow(
    "payloads above a kilobyte, shared by events and frames",
    machine(
        ("Give", task("give", "Items")),
        (
            "Items",
            each(
                machine(("Work", task("work", "Rest")), ("Rest", {"Type": "Wait", "Seconds": 1, "End": True})),
                2,
                ItemsPath="$.list",
                ItemSelector={"big.$": "$.text", "item.$": "$$.Map.Item.Value"},
                next="Keep",
            ),
        ),
        ("Keep", {"Type": "Pass", "Assign": {"all.$": "$"}, "Next": "Last"}),
        ("Last", task("last", Parameters={"all.$": "$all"}, ResultSelector={"key.$": "$.key"})),
    ),
    {"text": "ä" * 1_500},
    lambda state, payload, attempt: (
        Reply({"text": "x" * 2_000, "list": [1, 2, "y" * 1_200]})
        if state == "Give"
        else Reply({"echo": payload} if state == "Work" else {})
    ),
)

JOBS = Workflow(
    "submitted jobs that are polled, retried, in a Map",
    machine(
        ("One", {"Type": "Task", "Resource": JOB, "Parameters": {"n": 1}, "ResultPath": "$.one", "Next": "Many"}),
        (
            "Many",
            each(
                machine(
                    (
                        "Job",
                        {
                            "Type": "Task",
                            "Resource": JOB,
                            "TimeoutSeconds": 80_000,
                            "Parameters": {"n.$": "$"},
                            "Retry": RETRY,
                            "Next": "Note",
                        },
                    ),
                    ("Note", task("note")),
                ),
                2,
                ItemsPath="$.items",
            ),
        ),
    ),
    {"items": [5, 6, 7]},
    lambda state, payload, attempt: (
        Reply(job=True, seconds=4, error="Flaky" if payload["n"] == 6 and attempt == 0 else None)
        if state in ("One", "Job")
        else Reply({"noted": True})
    ),
)

JSONATA = Workflow(
    "JSONata all the way, with variables, a Map and a retry",
    machine(
        ("Set", {"Type": "Pass", "Assign": {"base": "{% $states.input.base %}"}, "Next": "Items"}),
        (
            "Items",
            each(
                machine(
                    (
                        "Work",
                        {
                            "Type": "Task",
                            "Resource": LAMBDA + "work",
                            "Arguments": {"n": "{% $states.input + $base %}"},
                            "Retry": RETRY,
                            "Assign": {"mine": "{% $states.result.n %}"},
                            "Output": "{% $states.result %}",
                            "Next": "Both",
                        },
                    ),
                    (
                        "Both",
                        parallel(
                            machine(("In", {"Type": "Pass", "Output": "{% $mine + $base %}", "End": True})),
                            machine(("Nap", {"Type": "Wait", "Seconds": "{% $base %}", "End": True})),
                            Output="{% $states.result %}",
                        ),
                    ),
                ),
                2,
                Items="{% $states.input.items %}",
                Output="{% {'total': $count($states.result)} %}",
                next="Last",
            ),
        ),
        ("Last", {"Type": "Task", "Resource": LAMBDA + "last", "Arguments": "{% $states.input %}", "End": True}),
        QueryLanguage="JSONata",
    ),
    {"base": 3, "items": [1, 2, 3]},
    lambda state, payload, attempt: (
        Reply(error="Flaky") if payload.get("n") == 5 and attempt == 0 else Reply({"n": payload.get("n")})
    ),
)

WORKFLOWS = [
    TASK_IN_MAP_IN_PARALLEL, CAUGHT_MAP, NESTED_MAPS, RETRIED_PARALLEL, VARIABLES, FAIL_CAUGHT, UNCAUGHT, PURE_LOOP,
    LARGE_PAYLOADS, JOBS, JSONATA,
]  # fmt: skip
