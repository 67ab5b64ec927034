"""What a simulated world runs: grown machines and recorded ones, with tasks whose answers follow from the call.

Grown machines are bent a little for what concerns a runtime more than a language: waits that last for days, and work
that goes to activities. The same call gets the same answer however often, and in whatever process, it is made.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any, Final

from asfn._json import Payload
from asfn.errors import TaskFailed
from tests.conformance.cases import DEFAULT_DIRECTORY, load, named_states, states_in
from tests.conformance.exceptions import why_skipped
from tests.conformance.normalise import Placeholders
from tests.conformance.script import Texts, scripts_of
from tests.grow.machines import grow_from
from tests.grow.shapes import sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asfn._json import Json, JsonObject
    from asfn.testing import Scripted
    from tests.conformance.cases import Case
    from tests.grow.tasks import Script

ACTIVITY: Final = "arn:aws:states:us-east-1:123456789012:activity:"
_LONG_WAITS: Final = (100, 700, 3_600, 86_400, 30 * 86_400)
_CLOCKS: Final = ("TimeoutSeconds", "HeartbeatSeconds", "TimeoutSecondsPath", "HeartbeatSecondsPath")
# What may come out otherwise when time passes otherwise, or when another one draws first.
_UNSTEADY: Final = re.compile(
    r"TimeoutSeconds|HeartbeatSeconds|UUID|\$uuid|MathRandom|\$random|\$now|\$millis|Timestamp[A-Z]\w*Than|"
    r"Timestamp(?:Equals|Greater|Less)|ToleratedFailure"
)
_MOST_RECORDED_EVENTS: Final = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """How one call ends. seconds: after it was made; never: None.   job: it is submitted first and polled."""

    outcome: Payload | TaskFailed | None
    seconds: float
    job: bool = False
    submitted: Payload = field(default_factory=lambda: Payload({}))


@dataclass(frozen=True)
class Workload:
    """A machine with its input, and what comes of its calls.

    scripts: of grown tasks by state, or by activity ARN.   recorded: of recorded ones by state.
    steady: whether its outcome may depend on neither schedule, pauses nor clocks, as far as the definition tells.
    """

    name: str
    definition: JsonObject
    input: Json
    seed: int
    scripts: Mapping[str, Script] = field(default_factory=dict)
    recorded: Mapping[str, Sequence[Scripted]] | None = None
    activities: tuple[str, ...] = ()
    steady: bool = True

    def reply(self, place: str, state_name: str, payload: Json, taken: dict[str, dict[int, str]]) -> Reply:
        """What comes of a call. place: names the call.   taken: the recorded answers that were used up."""
        if self.recorded is not None:
            return _recorded_reply(self.recorded.get(state_name, ()), place, payload, taken.setdefault(state_name, {}))
        script = self.scripts[state_name]
        rng = Random(f"{self.seed} {place}")
        seconds = 0.001 + rng.random() * script.most_seconds
        chance = rng.random()
        if chance < script.never:
            return Reply(None, seconds, script.submits)
        if chance < script.never + script.fails:
            cause = rng.choice((None, "a cause", '{"json": true}'))
            return Reply(TaskFailed(rng.choice(script.errors), cause), seconds, script.submits)
        return Reply(Payload(sample(rng, script.shape)), seconds, script.submits)


def _recorded_reply(script: Sequence[Scripted], place: str, payload: Json, taken: dict[int, str]) -> Reply:
    """The first answer that is left and fits; a call that is made again gets the one it had."""
    position = next((position for position, holder in taken.items() if holder == place), None)
    if position is None:
        fitting = (
            index
            for index, answer in enumerate(script)
            if index not in taken and (answer.condition is None or answer.condition(payload))
        )
        position = next(fitting, None)
    if position is None:
        return Reply(TaskFailed("Script.UsedUp", place.rpartition("/")[2]), 1.0)
    taken[position] = place
    answer = script[position]
    return Reply(answer.outcome, 1.0 + position / 7, answer.submitted is not None, answer.submitted or Payload({}))


# --- grown ---------------------------------------------------------------------------------------------------------


def grown(rng: Random, name: str) -> Workload:
    """A grown machine, bent as this module's head says."""
    seed = rng.randrange(10**9)
    tree = grow_from(rng, rng.choice((3, 6, 9, 14)), seed)
    definition: JsonObject = json.loads(json.dumps(tree.definition))
    timed = rng.random() < 0.3
    scripts = {state: replace(script, huge=0.0) for state, script in tree.scripts.items()}
    if not timed:
        scripts = {state: replace(script, never=0.0) for state, script in scripts.items()}
        _stop_clocks(definition)
    _lengthen(rng, definition, rng.choice((0.0, 0.3, 0.9)))
    _rest(rng, definition, rng.choice((0.0, 0.0, 0.4)))
    activities = _employ(rng, definition, scripts, name, rng.choice((0.0, 0.0, 0.5)))
    if not timed:
        _hand_out(rng, definition, scripts, rng.choice((0.0, 0.0, 0.3, 0.7)))
    steady = not tree.racy and not _UNSTEADY.search(json.dumps(definition))
    return Workload(name, definition, tree.input, seed, scripts, None, activities, steady)


def _stop_clocks(definition: Any) -> None:
    for fields in (definition, *states_in(definition)):
        for clock in _CLOCKS:
            fields.pop(clock, None)


def _lengthen(rng: Random, definition: JsonObject, share: float) -> None:
    for state in states_in(definition):
        if state["Type"] == "Wait" and isinstance(state.get("Seconds"), int) and rng.random() < share:
            state["Seconds"] = rng.choice(_LONG_WAITS)


def _rest(rng: Random, definition: Any, share: float) -> None:
    """Let some states of the outermost machine be followed by a long Wait; inside of branches that could be a race."""
    states: dict[str, Any] = definition["States"]
    for number, state in enumerate(list(states.values())):
        if "Next" in state and rng.random() < share:
            name = f"Rest {number}"
            states[name] = {"Type": "Wait", "Seconds": rng.choice(_LONG_WAITS), "Next": state["Next"]}
            state["Next"] = name


def longest_wait(workload: Workload) -> float:
    """The longest Seconds of a Wait of a machine, or time of one of its tasks."""
    waits = [state.get("Seconds", 0) for state in states_in(workload.definition) if state["Type"] == "Wait"]
    tasks = [script.most_seconds for script in workload.scripts.values()]
    return max([*tasks, *(seconds for seconds in waits if isinstance(seconds, int))], default=0.0)


def _employ(
    rng: Random, definition: JsonObject, scripts: dict[str, Script], machine: str, share: float
) -> tuple[str, ...]:
    """Give the work of some Tasks to activities, one for each state so that its worker knows what to answer."""
    found: list[str] = []
    for name, state in named_states(definition):
        if state["Type"] == "Task" and ":function:" in state["Resource"] and rng.random() < share:
            arn = f"{ACTIVITY}{machine}-{len(found)}"
            scripts[arn] = scripts[name]
            state["Resource"] = arn
            found.append(arn)
    return tuple(found)


def _hand_out(rng: Random, definition: JsonObject, scripts: dict[str, Script], share: float) -> None:
    """Let some Tasks wait for a token, which comes back soon or much later."""
    for name, state in named_states(definition):
        if state["Type"] != "Task" or ":function:" not in state["Resource"] or rng.random() >= share:
            continue
        state["Resource"] = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"
        if state.get("QueryLanguage", definition.get("QueryLanguage")) == "JSONata":
            state["Arguments"] = {"token": "{% $states.context.Task.Token %}"}
        else:
            state["Parameters"] = {"token.$": "$$.Task.Token"}
        scripts[name] = replace(scripts[name], callback=True, most_seconds=rng.choice((5.0, 500.0, 50_000.0)))


# --- recorded ------------------------------------------------------------------------------------------------------


@cache
def recordings() -> tuple[Case, ...]:
    """The recorded executions that such a world can play; none where the recordings are absent."""
    if not DEFAULT_DIRECTORY.is_dir():
        return ()
    return tuple(case for case in load([DEFAULT_DIRECTORY]) if _is_playable(case))


def _is_playable(case: Case) -> bool:
    data = case.data
    text = json.dumps(data.get("definition"))
    return (
        case.kind == "execution"
        and "tasks" in data
        and data.get("type", "STANDARD") == "STANDARD"
        and case.status in ("SUCCEEDED", "FAILED")
        and why_skipped(case) is None
        and not data.get("tasks_best_effort")
        and len(case.expected.get("history") or range(1_000)) <= _MOST_RECORDED_EVENTS
        and ":activity:" not in text
        and '"TimeoutSeconds' not in text
        and '"HeartbeatSeconds' not in text
    )


def recorded(rng: Random, name: str) -> Workload | None:
    """One of the recorded machines; None where there are no recordings."""
    cases = recordings()
    if not cases:
        return None
    case = rng.choice(cases)
    placeholders = Placeholders.of(case.data)
    texts = Texts(placeholders.bind(case.expected))
    scripts = scripts_of(case, texts, placeholders)
    definition: JsonObject = json.loads(json.dumps(case.data["definition"]))
    text = json.dumps(definition)
    side_by_side = '"Branches"' in text or '"Type": "Map"' in text
    ambiguous = side_by_side and any(len(script) > 1 for script in scripts.values())
    steady = not ambiguous and not _UNSTEADY.search(text)
    return Workload(name, definition, case.data.get("input", {}), 0, recorded=scripts, steady=steady)
