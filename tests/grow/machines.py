"""Random valid machines: all eight state types, both query languages, nested, with retries, catches and variables.

A machine is grown along the shapes of its data, chain by chain, so that its paths mostly lead somewhere and it ends.
A grown machine has no race: of branches that run side by side, those that take time begin with a task, whose delay is
like no other. `racy` ones do not care, and their outputs are not to be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

from asfn._json import Json, JsonObject
from tests.grow.dataflow import DataFlow, Env, Fields, meet_env
from tests.grow.paths import grow_literal, grow_path, grow_rule, grow_template
from tests.grow.queries import grow_condition, grow_expression, grow_object, grow_output, grow_read
from tests.grow.shapes import ANY, ERROR, INT, Shape, grow_shape, list_of, sample, tuple_of
from tests.grow.tasks import Script

_LAMBDA: Final = "arn:aws:lambda:us-east-1:123456789012:function:"
_ERRORS: Final = ("Flaky", "Card.Declined", "States.TaskFailed", "Custom Error", "States.Runtime", None)
_MATCHES: Final = (
    "Flaky",
    "Card.Declined",
    "States.TaskFailed",
    "States.Timeout",
    "States.HeartbeatTimeout",
    "Custom Error",
    "Never.Raised",
    "States.QueryEvaluationError",
    "Boom",
)
_TITLES: Final = (
    "Do",
    "Check it",
    "État",
    "Wait_for",
    "a.b",
    "Ask?",
    'Say "so"',
    "\U0001f680",
    "x/y",
    "Loop[0]",
    "{%",
    "$",
)


@dataclass(frozen=True, slots=True)
class Grown:
    """A machine with its input and its tasks. racy: what it gives may depend on the schedule."""

    definition: JsonObject
    input: Json
    scripts: Mapping[str, Script]
    type: Literal["STANDARD", "EXPRESS"]
    racy: bool
    seed: int


def grow(seed: int, size: int = 14) -> Grown:
    """The machine of a seed. size: about how many states."""
    return grow_from(Random(seed), size, seed)


class _AnyScripts(dict[str, Script]):
    """Answers for states that nobody grew: of a shape that follows from the name."""

    def __missing__(self, name: str) -> Script:
        shape = grow_shape(Random(name))
        return Script(shape, ("Flaky", "States.TaskFailed", None), fails=0.1, huge=0.01, callback=True)


def foreign(definition: JsonObject, seed: int) -> Grown:
    """A definition that was not grown, with an input and tasks that hardly fit it.

    It may loop without end, and is no Express machine: nothing but the length of its history ends it on virtual time.
    """
    rng = Random(seed)
    return Grown(definition, sample(rng, grow_shape(rng)), _AnyScripts(), "STANDARD", True, seed)


def grow_from(rng: Random, size: int = 14, seed: int = 0) -> Grown:
    """A machine from any source of randomness. seed: of the answers of its tasks."""
    return _Grower(rng, size).grown(seed)


class _Grower(DataFlow):
    def __init__(self, rng: Random, size: int) -> None:
        super().__init__(rng)
        self.left = rng.randrange(1, max(2, size))
        self.racy = rng.random() < 0.1
        self.express = rng.random() < 0.1
        self.language = rng.choice(("JSONPath", "JSONPath", "JSONata"))
        self.mixes = self.language == "JSONPath" and rng.random() < 0.5
        self.failing = rng.choice((0.0, 0.1, 0.1, 0.3))
        self.scripts: dict[str, Script] = {}
        self.states: dict[str, JsonObject] = {}

    def grown(self, seed: int) -> Grown:
        shape = grow_shape(self.rng)
        env = Env(shape)
        machine = self.machine(env, self.rng.randrange(1, 6))[0]
        machine["QueryLanguage"] = self.language
        if self.language == "JSONPath" and self.chance(0.5):
            del machine["QueryLanguage"]
        if self.chance(0.2):
            machine["Version"] = "1.0"
        if self.racy and self.chance(0.4):
            machine["TimeoutSeconds"] = self.rng.choice((1, 3, 10, 1000))
        return Grown(
            machine,
            sample(self.rng, shape),
            self.scripts,
            "EXPRESS" if self.express else "STANDARD",
            self.racy,
            seed,
        )

    def fresh(self) -> str:
        self.names += 1
        return f"{self.rng.choice(_TITLES)} {self.names}"

    # --- machines and chains ---------------------------------------------------------------------------------------

    def machine(self, env: Env, length: int) -> tuple[JsonObject, Shape]:
        """A machine whose input has the shape of env, and the shape of its output."""
        outer, self.states = self.states, {}
        begin_with_task = env.depth > 0 and not env.pure and not self.racy
        start, end = self.chain(env, length, None, first=self.task_first if begin_with_task else None)
        states, self.states = self.states, outer
        order = list(states.items())
        if self.chance(0.5):
            self.rng.shuffle(order)
        machine: JsonObject = {"StartAt": start, "States": dict(order)}
        if self.chance(0.1):
            machine["Comment"] = "grown"
        return machine, end.input if end is not None else ANY

    def chain(
        self, env: Env, length: int, after: str | None, first: Callable[..., Env | None] | None = None
    ) -> tuple[str, Env | None]:
        """States one after the other, then `after`, or the end of the machine. Gives the first name and the env behind.

        The env is None when nothing gets there.
        """
        names = [self.fresh() for _ in range(max(1, length))]
        here: Env | None = env
        for index, name in enumerate(names):
            next_name = names[index + 1] if index + 1 < len(names) else after
            assert here is not None
            grower = first if first is not None and index == 0 else self.kind(here, next_name)
            self.left -= 1
            here = grower(here, name, next_name)
            if here is None:
                if next_name is not None and next_name is not after:
                    raise AssertionError("a chain goes on behind its end")
                return names[0], None
        return names[0], here

    def kind(self, env: Env, next_name: str | None) -> Callable[[Env, str, str | None], Env | None]:
        """Which state to grow next."""
        room = self.left > 0 and env.depth < 3
        choices: list[tuple[Callable[[Env, str, str | None], Env | None], float]] = [(self.pass_, 3), (self.choice, 2)]
        if not env.pure:
            choices += [(self.task, 4), (self.wait, 1.5)]
        if room and not env.pure:
            choices += [(self.parallel, 1.6), (self.map_, 2.0), (self.loop, 0.8)]
        if next_name is None:
            choices += [(self.succeed, 1.0), (self.fail, self.failing * 3)]
        return self.rng.choices([grower for grower, _ in choices], [weight for _, weight in choices])[0]

    def put(self, name: str, kind: str, language: str, next_name: str | None, fields: Fields) -> None:
        """The state into the machine that is being grown; its members in any order."""
        state: Fields = {"Type": kind, **fields}
        if language != self.language or self.chance(0.05):
            state["QueryLanguage"] = language
        if kind not in ("Choice", "Succeed", "Fail"):
            state.update({"Next": next_name} if next_name is not None else {"End": True})
        if self.chance(0.1):
            state["Comment"] = "é"
        members = list(state.items())
        if self.chance(0.3):
            self.rng.shuffle(members)
        self.states[name] = dict(members)

    def state_language(self) -> str:
        if self.mixes and self.chance(0.4):
            return "JSONata"
        return self.language

    # --- simple states ---------------------------------------------------------------------------------------------

    def pass_(self, env: Env, name: str, next_name: str | None) -> Env:
        language = self.state_language()
        fields: Fields = {}
        if language == "JSONata":
            after = self.finish(env, language, fields, None)
        else:
            result = self.input_path(env, fields)
            if self.chance(0.5):
                fields["Parameters"], result = grow_template(self.rng, self.view(env, result))
            elif self.chance(0.4):
                fields["Result"], result = grow_literal(self.rng)
            assigned = self.assign(self.view(env, result), language, fields)
            placed = self.result_path(env.input, result, fields)
            after = env.into(self.output_path(env, placed, fields), assigned)
        self.put(name, "Pass", language, next_name, fields)
        return after

    def succeed(self, env: Env, name: str, next_name: str | None) -> Env:
        language = self.state_language()
        fields: Fields = {}
        if language == "JSONata":
            shape = env.input
            if self.chance(0.4):
                fields["Output"], shape = grow_output(self.rng, self.view(env))
        else:
            shape = self.output_path(env, self.input_path(env, fields), fields)
        self.put(name, "Succeed", language, None, fields)
        return env.into(shape)

    def fail(self, env: Env, name: str, next_name: str | None) -> None:
        language = self.state_language()
        fields: Fields = {}
        for field_name in ("Error", "Cause"):
            kind = self.rng.random()
            found = (grow_read if language == "JSONata" else grow_path)(self.rng, self.view(env), ["text"])
            if kind < 0.5:
                fields[field_name] = self.rng.choice(("Boom", "Flaky", "Custom Error", "x"))
            elif kind < 0.8 and found is not None:
                if language == "JSONata":
                    fields[field_name] = f"{{% {found[0]} %}}"
                else:
                    fields[f"{field_name}Path"] = self.rng.choice((found[0], f"States.Format('{{}}!', {found[0]})"))
        self.put(name, "Fail", language, None, fields)

    def wait(self, env: Env, name: str, next_name: str | None) -> Env:
        language = self.state_language()
        fields: Fields = {}
        number = (grow_read if language == "JSONata" else grow_path)(self.rng, self.view(env), ["int"])
        kind = self.rng.random()
        if kind < 0.5:
            fields["Seconds"] = self.rng.choice((0, 1, 2, 7, 20))
        elif kind < 0.65:
            moments = ("2024-12-31T23:59:59Z", "2025-01-01T00:00:09Z", "2025-01-01T01:00:12.5+01:00")
            fields["Timestamp"] = self.rng.choice(moments)
        elif language == "JSONata":
            millis = "$fromMillis($toMillis($states.context.State.EnteredTime) + 1500)"
            fields.update(
                {"Seconds": f"{{% {number[0]} %}}"}
                if number is not None and kind < 0.85
                else {"Timestamp": f"{{% {millis} %}}"}
            )
        elif number is not None and kind < 0.85:
            fields["SecondsPath"] = number[0]
        else:
            fields["TimestampPath"] = self.rng.choice(("$$.Execution.StartTime", "$$.State.EnteredTime"))
        if "SecondsPath" in fields:  # it is read after InputPath, which may not be there then
            assigned = self.assign(self.view(env), language, fields)
            after = env.into(self.output_path(env, env.input, fields), assigned)
        else:
            after = self.finish(env, language, fields, None)
        self.put(name, "Wait", language, next_name, fields)
        return after

    # --- choices and loops -----------------------------------------------------------------------------------------

    def join(self, next_name: str | None) -> tuple[str, str | None]:
        """A state that ways can meet in: the next one, or a Succeed of its own."""
        return (next_name, None) if next_name is not None else ((name := self.fresh()), name)

    def arm(self, env: Env, target: str) -> tuple[str, Env | None]:
        """Where a rule or a catcher leads, and the env in which it gets to `target`; None when it ends before."""
        kind = self.rng.random()
        if kind < 0.3 or self.left <= 0:
            return target, env
        if kind < 0.3 + self.failing:
            name = self.fresh()
            self.fail(env, name, None)
            return name, None
        if kind < 0.3 + self.failing + 0.05:
            name = self.fresh()
            self.succeed(env, name, None)
            return name, None
        return self.chain(env, self.rng.choice((1, 1, 2)), target)

    def choice(self, env: Env, name: str, next_name: str | None) -> Env:
        language = self.state_language()
        target, own = self.join(next_name)
        fields: Fields = {}
        shape = env.input if language == "JSONata" else self.input_path(env, fields)
        view = self.view(env, shape)
        out = shape if language == "JSONata" else self.output_path(env, shape, fields)
        meeting: Env | None = None
        rules: list[Json] = []
        for _ in range(self.rng.randrange(1, 4)):
            rule: Fields = (
                {"Condition": grow_condition(self.rng, view)} if language == "JSONata" else grow_rule(self.rng, view)
            )
            here = env.into(out, self.assign(view, language, rule, 0.15))
            if language == "JSONata" and self.chance(0.2):
                rule["Output"], output = grow_output(self.rng, view)
                here = env.into(output)
            rule["Next"], here_after = self.arm(here, target)
            meeting = (
                here_after if meeting is None else meet_env(meeting, here_after) if here_after is not None else meeting
            )
            rules.append(rule)
        fields["Choices"] = rules
        default = env.into(out, self.assign(view, language, fields, 0.15))
        if language == "JSONata" and self.chance(0.2):
            fields["Output"], output = grow_output(self.rng, view)
            default = default.into(output)
        fields["Default"] = target
        meeting = default if meeting is None else meet_env(meeting, default)
        self.put(name, "Choice", language, None, fields)
        return self.joined(meeting, own)

    def joined(self, env: Env, own: str | None) -> Env:
        if own is not None:
            self.put(own, "Succeed", self.language, None, {})
        return env

    def loop(self, env: Env, name: str, next_name: str | None) -> Env:
        """A body that runs a few times; what it did to the data is undone, its tasks are not."""
        counter, saved = self.variable(), self.variable()
        head, again = self.fresh(), self.fresh()
        target, own = self.join(next_name)
        times = self.rng.choice((1, 2, 3)) if env.depth or self.chance(0.8) else self.rng.choice((30, 70, 150))
        after = env.into(env.input, {counter: INT, saved: env.input})
        if times > 3:
            body = self.fresh()
            self.pass_(after, body, again)
        else:
            body = self.chain(after, self.rng.choice((1, 1, 2)), again)[0]
        if self.state_language() == "JSONata":
            self.put(name, "Pass", "JSONata", head, {"Assign": {counter: 0, saved: "{% $states.input %}"}})
            condition: Fields = {"Condition": f"{{% ${counter} < {times} %}}", "Next": body}
            self.put(head, "Choice", "JSONata", None, {"Choices": [condition], "Default": target})
            undo: Fields = {"Assign": {counter: f"{{% ${counter} + 1 %}}"}, "Output": f"{{% ${saved} %}}"}
            self.put(again, "Pass", "JSONata", head, undo)
        else:
            self.put(name, "Pass", "JSONPath", head, {"Assign": {counter: 0, f"{saved}.$": "$"}})
            rule = {"Variable": f"${counter}", "NumericLessThan": times, "Next": body}
            self.put(head, "Choice", "JSONPath", None, {"Choices": [rule], "Default": target})
            undo = {"Assign": {f"{counter}.$": f"States.MathAdd(${counter}, 1)"}, "InputPath": f"${saved}"}
            self.put(again, "Pass", "JSONPath", head, undo)
        return self.joined(after, own)

    # --- work ------------------------------------------------------------------------------------------------------

    def retry(self, env: Env) -> list[Json]:
        retriers: list[Json] = []
        for index in range(self.rng.choice((1, 1, 2))):
            retrier: Fields = {"ErrorEquals": self.rng.sample(_MATCHES, self.rng.randrange(1, 3))}
            if index == 1 or self.chance(0.2):
                retrier["ErrorEquals"] = ["States.ALL"]
            if self.chance(0.6):
                retrier["IntervalSeconds"] = self.rng.choice((1, 2, 5))
            if self.chance(0.7):
                retrier["MaxAttempts"] = self.rng.choice((0, 1, 2, 3))
            if self.chance(0.3):
                retrier["BackoffRate"] = self.rng.choice((1, 1.5, 3.0))
            if self.chance(0.2):
                retrier["MaxDelaySeconds"] = 7
            if self.chance(0.1):
                retrier["JitterStrategy"] = self.rng.choice(("FULL", "NONE"))
            retriers.append(retrier)
            if retrier["ErrorEquals"] == ["States.ALL"]:
                break
        return retriers

    def catch(self, env: Env, language: str, target: str, fields: Fields, main: Env) -> Env:
        """Catchers of a state, each with its own way to where the state itself leads."""
        catchers: list[Json] = []
        for index in range(self.rng.choice((1, 1, 2))):
            names = self.rng.sample(_MATCHES, self.rng.randrange(1, 3))
            catcher: Fields = {"ErrorEquals": names}
            if index == 1 or self.chance(0.5):
                catcher["ErrorEquals"] = ["States.ALL"]
            view = self.view(env, ERROR) if language == "JSONPath" else self.view(env, errorOutput=ERROR)
            assigned = self.assign(view, language, catcher, 0.2)
            if language == "JSONPath":
                shape = self.result_path(env.input, ERROR, catcher)
            else:
                shape = ERROR
                if self.chance(0.3):
                    catcher["Output"], shape = grow_output(self.rng, view)
            catcher["Next"], arrived = self.arm(env.into(shape, assigned), target)
            if arrived is not None:
                main = meet_env(main, arrived)
            catchers.append(catcher)
            if catcher["ErrorEquals"] == ["States.ALL"]:
                break
        fields["Catch"] = catchers
        return main

    def work(
        self, env: Env, name: str, next_name: str | None, kind: str, language: str, fields: Fields, result: Shape
    ) -> Env:
        """The fields that Task, Parallel and Map share, and the state itself."""
        after = self.finish(env, language, fields, result)
        own = None
        if not env.pure and self.chance(0.35):
            fields["Retry"] = self.retry(env)
        if self.chance(0.35):
            target, own = self.join(next_name)
            after = self.catch(env, language, target, fields, after)
            if own is not None and target == own and not any(item["Next"] == own for item in fields["Catch"]):
                reached = self.reaches(own, fields)
                own = own if reached else None
        self.put(name, kind, language, next_name, fields)
        return self.joined(after, own)

    def reaches(self, target: str, fields: Fields) -> bool:
        """Whether some state behind the catchers leads to a state."""
        waiting = [catcher["Next"] for catcher in fields["Catch"]]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name == target:
                return True
            if name in seen or name not in self.states:
                continue
            seen.add(name)
            state: Fields = self.states[name]
            waiting += [state[key] for key in ("Next", "Default") if key in state]
            waiting += [entry["Next"] for key in ("Choices", "Catch") for entry in state.get(key, ())]
        return False

    def task_first(self, env: Env, name: str, next_name: str | None) -> Env:
        """A task at the head of a branch: no timeout that another branch could meet."""
        return self.task(env, name, next_name, timed=False)

    def task(self, env: Env, name: str, next_name: str | None, timed: bool = True) -> Env:
        language = self.state_language()
        fields: Fields = {}
        shape = grow_shape(self.rng)
        resources = [
            _LAMBDA + "work",
            _LAMBDA + "work:LIVE",
            "arn:aws:states:::lambda:invoke",
            "arn:aws:states:::aws-sdk:dynamodb:getItem",
        ]
        if not self.express:
            resources += ["arn:aws:states:::ecs:runTask.sync", "arn:aws:states:::sqs:sendMessage.waitForTaskToken"]
        fields["Resource"] = self.rng.choice(resources)
        integration = fields["Resource"].startswith("arn:aws:states:")
        if language == "JSONata":
            if self.chance(0.6) or integration:
                fields["Arguments"] = grow_object(self.rng, self.view(env))[0]
        else:
            effective = self.input_path(env, fields)
            if self.chance(0.6) or integration:
                fields["Parameters"] = grow_template(self.rng, self.view(env, effective))[0]
        if fields["Resource"].endswith("waitForTaskToken") and self.chance(0.8):
            if language == "JSONata":
                fields["Arguments"] = {"token": "{% $states.context.Task.Token %}"}
            else:
                fields["Parameters"] = {"token.$": "$$.Task.Token"}
        timeout = timed and self.chance(0.3)
        if timeout:
            self.timeouts(language, fields)
        errors = tuple(self.rng.sample(_ERRORS, self.rng.randrange(1, 4)))
        fails = self.rng.choice((0.0, self.failing, self.failing, 0.5 if self.failing else 0.0))
        never = 0.3 if timeout and self.chance(0.5) else 0.0
        huge = 0.02 if self.chance(0.05) else 0.0
        submits, callback = (fields["Resource"].endswith(end) for end in (".sync", ".waitForTaskToken"))
        slowest = self.rng.choice((0.5, 5.0, 50.0))
        self.scripts[name] = Script(shape, errors, fails, never, huge, slowest, submits, callback)
        return self.work(env, name, next_name, "Task", language, fields, shape)

    def timeouts(self, language: str, fields: Fields) -> None:
        kind = self.rng.random()
        if kind < 0.7:
            fields["TimeoutSeconds"] = self.rng.choice((3, 4, 30))
        elif language == "JSONata":
            fields["TimeoutSeconds"] = "{% 2 + 1 %}"
        else:
            fields["TimeoutSeconds"] = 6
        if self.chance(0.4):
            fields["HeartbeatSeconds"] = self.rng.choice((1, 2))
        if kind > 0.95:
            del fields["TimeoutSeconds"]
            fields["HeartbeatSeconds"] = 2

    def inner(self, env: Env, shape: Shape, item: Shape | None) -> Env:
        """The env of a branch or an iteration."""
        pure = env.pure or (not self.racy and self.chance(0.35))
        return Env(shape, env.variables, item if item is not None else env.item, pure and not self.racy, env.depth + 1)

    def parallel(self, env: Env, name: str, next_name: str | None) -> Env:
        language = self.state_language()
        fields: Fields = {}
        if language == "JSONata":
            shape = env.input
            if self.chance(0.3):
                fields["Arguments"], shape = grow_object(self.rng, self.view(env))
        else:
            shape = self.input_path(env, fields)
            if self.chance(0.3):
                fields["Parameters"], shape = grow_template(self.rng, self.view(env, shape))
        branches, outputs = [], []
        for _ in range(self.rng.choice((1, 2, 2, 3))):
            branch, output = self.machine(self.inner(env, shape, None), self.rng.choice((1, 2, 2, 3)))
            branches.append(branch)
            outputs.append(output)
        fields["Branches"] = branches
        return self.work(env, name, next_name, "Parallel", language, fields, tuple_of(*outputs))

    def map_(self, env: Env, name: str, next_name: str | None) -> Env:
        language = self.state_language()
        fields: Fields = {}
        if language == "JSONata":
            item = self.items(env, fields)
        else:
            found = grow_path(self.rng, self.view(env), ["list"])
            if found is None:
                env, name = self.list_first(env, name)
                found = "$.items", list_of(INT)
            fields["ItemsPath"] = found[0]
            item = found[1].element or ANY
        if self.chance(0.5):
            fields["MaxConcurrency"] = self.rng.choice((0, 1, 2, 3))
        element = item
        if self.chance(0.4):
            inside = replace(env, item=item)
            if language == "JSONata":
                fields["ItemSelector"], element = grow_object(self.rng, self.view(inside))
            else:
                key = "ItemSelector" if self.chance(0.8) else "Parameters"
                fields[key], element = grow_template(self.rng, self.view(inside))
        processor, output = self.machine(self.inner(env, element, item), self.rng.choice((1, 1, 2, 3)))
        if self.chance(0.3):
            processor["ProcessorConfig"] = {"Mode": "INLINE"}
        fields["ItemProcessor" if self.chance(0.8) else "Iterator"] = processor
        return self.work(env, name, next_name, "Map", language, fields, list_of(output))

    def items(self, env: Env, fields: Fields) -> Shape:
        found = grow_read(self.rng, self.view(env), ["list"]) if self.chance(0.6) else None
        if found is not None:
            fields["Items"] = f"{{% {found[0]} %}}"
            return found[1].element or ANY
        if self.chance(0.5):
            fields["Items"] = f"{{% [1..{self.rng.randrange(1, 6)}] %}}"
            return INT
        expression, shape = grow_expression(self.rng, self.view(env))
        fields["Items"] = [expression, 2, "three"]
        return shape if shape.kind == "text" else ANY

    def list_first(self, env: Env, name: str) -> tuple[Env, str]:
        """A state that makes a list, where a Map has none at hand; the name of the Map behind it."""
        behind = self.fresh()
        made: Fields = {"items.$": "States.ArrayRange(1, 4, 1)"} if self.chance(0.5) else {"items": [1, 2, 3]}
        self.put(name, "Pass", "JSONPath", behind, {"Parameters": made})
        return env.into(Shape("object", (("items", list_of(INT)),))), behind
