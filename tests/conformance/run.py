"""Running one case: through the engine on virtual time, or through the validator."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from asfn.engine import Engine
from asfn.errors import DefinitionError, ExecutionFailed
from asfn.language.document import read_document
from asfn.language.validate import invalid_definition_text, validate
from asfn.testing import Deadlock, VirtualClock, run
from tests.conformance.actors import OutsideTasks, act, shifts
from tests.conformance.compare import Difference, Matcher, shown
from tests.conformance.exceptions import why_skipped
from tests.conformance.history import history_difference
from tests.conformance.lambdas import DescribedFunctions, why_not_played
from tests.conformance.normalise import Placeholders, decode_members
from tests.conformance.script import Texts, scripts_of
from tests.conformance.states import state_difference, why_not_tested

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn.language.diagnostics import Diagnostic
    from asfn.runtime.handle import Execution, ExecutionInfo
    from tests.conformance.actors import Shift
    from tests.conformance.cases import Case
    from tests.conformance.history import How

Status = Literal["passed", "failed", "skipped"]

REGION: Final = "us-east-1"
ACCOUNT: Final = "111111111111"
REAL_SECONDS_PER_CASE: Final = 20
_AFTER_ALL_RECORDINGS = 1_893_456_000.0  # 2030: a date that a case says is to be "now" has just passed
_TEN_YEARS: Final = 3650 * 86_400.0
_FIRST_PAGE_OF_DIAGNOSTICS: Final = 100

logging.getLogger("asfn").addHandler(logging.NullHandler())  # a fault is reported as the case's own


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case went. why: the first difference, or the reason of a skip; empty for a pass."""

    case: Case
    status: Status
    why: str = ""


class TookTooLong(KeyboardInterrupt):
    """A case used up its real seconds. A KeyboardInterrupt, because asyncio lets nothing else out of a callback."""


def judge(case: Case, seed: int | None = None) -> Verdict:
    """Run one case and compare. Never raises for what the engine does wrong.

    seed: shuffles the order in which ready tasks run, see VirtualTimeLoop.
    """
    reason = why_skipped(case)
    if reason is None and case.kind in ("execution", "express_sync") and "tasks" not in case.data:
        reason = why_not_played(case)
    if reason is None and case.kind == "test_state":
        reason = why_not_tested(case)
    if reason is None and case.kind not in ("execution", "express_sync", "validation", "test_state"):
        reason = f"cases of kind {case.kind} are unknown here"
    if reason is not None:
        return Verdict(case, "skipped", reason)
    try:
        with at_most(REAL_SECONDS_PER_CASE):
            why = _difference(case, seed)
    except Deadlock as error:
        why = f"the execution never ends: {shown(str(error).splitlines()[0])}"
    except TookTooLong:
        why = f"no end after {REAL_SECONDS_PER_CASE} real seconds"
    except Exception as error:
        why = f"{type(error).__name__}: {shown(str(error))}"
    return Verdict(case, "failed", why) if why else Verdict(case, "passed")


def _difference(case: Case, seed: int | None) -> str:
    if case.kind == "validation":
        return _validation(case)
    return state_difference(case, seed) if case.kind == "test_state" else _execution(case, seed)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TookTooLong inside; without effect outside the main thread, and where there is no such signal."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- execution, express_sync ---------------------------------------------------------------------------------------


def _execution(case: Case, seed: int | None) -> str:
    """The first difference as text; empty when the execution went as recorded."""
    placeholders = Placeholders.of(case.data)
    expected = placeholders.bind(case.expected)
    texts = Texts(expected)
    if "tasks" in case.data:
        tasks: OutsideTasks | DescribedFunctions = OutsideTasks(scripts_of(case, texts, placeholders))
    else:
        tasks = DescribedFunctions(case, texts)

    async def main(clock: VirtualClock) -> str:
        engine = Engine(
            clock=clock,
            resolver=tasks,
            region=REGION,
            account=ACCOUNT,
            random=random.Random(0),
            lease_seconds=_TEN_YEARS,
            drain_seconds=0,
        )
        async with engine:
            acting = asyncio.create_task(_act(engine, clock, tasks, shifts(case, texts)))
            try:
                why = await _compared(engine, clock, case, expected, Matcher(placeholders))
                return _complaint(acting) or why
            finally:
                acting.cancel()
                await asyncio.wait([acting])

    try:
        why = run(main, seed=seed, start_at=_AFTER_ALL_RECORDINGS)
    except Deadlock as error:
        why = f"the execution never ends: {shown(str(error).splitlines()[0])}"
    complaints = tasks.complaints if isinstance(tasks, OutsideTasks) else []
    return complaints[0] if why and complaints else why


async def _act(
    engine: Engine, clock: VirtualClock, tasks: OutsideTasks | DescribedFunctions, work: dict[str, list[Shift]]
) -> None:
    """Make the activities that were there, then answer tokens and take work as the recorded test's helpers did."""
    for arn in work:
        await engine.activities.create(arn)
    if isinstance(tasks, OutsideTasks):
        await act(engine, clock, tasks, work)


def _complaint(acting: asyncio.Task[None]) -> str:
    """What went wrong with those outside, if something did."""
    error = acting.exception() if acting.done() and not acting.cancelled() else None
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return "" if error is None else f"outside: {type(error).__name__}: {shown(str(error))}"


async def _compared(engine: Engine, clock: VirtualClock, case: Case, expected: dict[str, Any], matcher: Matcher) -> str:
    machine = case.data["state_machine"]
    definition = case.data.get("definition_text") or json.dumps(case.data["definition"])
    try:
        await engine.create_state_machine(
            machine["name"], definition, type=case.data.get("type", "STANDARD"), role_arn=machine["role_arn"]
        )
    except DefinitionError as error:
        return f"the definition was refused: {shown(str(error))}"
    name = _execution_name(machine["name"], expected, matcher.placeholders)
    execution = await engine.start(machine["name"], name=name, input_text=_input_text(case, expected))
    if case.status == "ABORTED":
        await _stop(execution, clock, expected)
    try:
        await execution.result(timeout=_TEN_YEARS)
    except ExecutionFailed:
        pass
    except TimeoutError:
        return "the execution did not end within ten years"
    difference = _end_difference(case.status, expected, await execution.describe(), matcher)
    history = expected.get("history")
    if difference is not None and history is None:
        return str(difference)
    if history is not None:
        actual = [decode_members(event) for event in await execution.history()]
        # The history says more precisely where an execution went another way than its end does.
        difference = (
            history_difference(history, actual, matcher, _how(case), case.data.get("lost_events", ())) or difference
        )
    return str(difference) if difference is not None else ""


def _input_text(case: Case, expected: dict[str, Any]) -> str:
    """The input as it was sent. The history shows the text unless it is an object; the recorder sent Python's form."""
    if "input" not in case.data:
        return "{}"
    for event in expected.get("history") or ():
        recorded = event.get("executionStartedEventDetails", {}).get("input")
        if isinstance(recorded, str):
            return recorded
    return json.dumps(case.data["input"])


def _execution_name(machine: str, expected: Any, placeholders: Placeholders) -> str | None:
    """The execution's name where a recorded ARN shows it: no token stands in that part."""
    if isinstance(expected, str):
        match = re.fullmatch(
            rf"arn:aws:states:[^:]+:\d+:(?:execution|express):{re.escape(machine)}:([^:]+).*", expected
        )
        return match[1] if match and placeholders.pieces(match[1]) is None and "<" not in match[1] else None
    members = expected.values() if isinstance(expected, dict) else expected if isinstance(expected, list) else ()
    names = (_execution_name(machine, member, placeholders) for member in members)
    return next((name for name in names if name is not None), None)


async def _stop(execution: Execution, clock: VirtualClock, expected: dict[str, Any]) -> None:
    """Stop the execution as the test did, once it has come to the state that waits."""
    last = (expected.get("history") or [{}])[-1].get("executionAbortedEventDetails", {})
    await clock.sleep_until(clock.now() + 0.5)
    await execution.stop(last.get("error"), last.get("cause"))


def _how(case: Case) -> How:
    if case.expected.get("incomplete_history"):
        return "prefix"
    if case.data.get("ids_normalised"):
        return "multiset"
    return "branches" if case.data.get("unordered") else "ordered"


def _end_difference(
    status: str | None, expected: dict[str, Any], info: ExecutionInfo, matcher: Matcher
) -> Difference | None:
    """The first difference in status, output, error and cause. Output is not compared where none was recorded."""
    recorded = {**expected.get("describe", {}), **expected}
    end = {key: recorded[key] for key in ("output", "error", "cause") if recorded.get(key) is not None}
    actual: dict[str, Any] = {"error": info.error, "cause": info.cause}
    actual = {key: value for key, value in actual.items() if value is not None}
    if "output" in recorded:
        end["output"] = recorded["output"]
        actual["output"] = json.loads(info.output_text) if info.output_text is not None else None
    if isinstance(end.get("cause"), dict):
        actual = {**actual, "cause": decode_members(actual).get("cause")}
    return matcher.difference({"status": status, **end}, {"status": info.status, **actual}, "execution")


# --- validation ----------------------------------------------------------------------------------------------------


def _validation(case: Case) -> str:
    placeholders = Placeholders.of(case.data)
    expected = placeholders.bind(case.expected)
    diagnostics = _diagnostics(case)
    if "error" in expected:
        errors = [item for item in diagnostics if item.severity == "ERROR"]
        message = f"Invalid State Machine Definition: '{invalid_definition_text(diagnostics)}'" if errors else None
        actual: Any = {"error": {"code": "InvalidDefinition", "message": message}} if errors else {}
        expected["error"].pop("operation", None)
    elif "result" not in expected["response"]:  # the definition was taken
        refusal = invalid_definition_text(diagnostics)
        return f"the definition was refused: {shown(refusal)}" if refusal else ""
    else:
        actual = {"response": _response(diagnostics, case.data.get("request") or {})}
    difference = Matcher(placeholders).difference(expected, actual, "validation")
    return str(difference) if difference is not None else ""


def _diagnostics(case: Case) -> list[Diagnostic]:
    text = case.data["definition_text"] if "definition_text" in case.data else json.dumps(case.data["definition"])
    try:
        document = read_document(text, format="json")
    except DefinitionError as error:
        return list(error.diagnostics)
    return validate(document, type=case.data.get("type", "STANDARD"))


def _response(diagnostics: list[Diagnostic], request: dict[str, Any]) -> dict[str, Any]:
    """What ValidateStateMachineDefinition answers for these findings."""
    errors = [item for item in diagnostics if item.severity == "ERROR"]
    asked = diagnostics if request.get("severity") == "WARNING" else errors
    most = request.get("maxResults") or _FIRST_PAGE_OF_DIAGNOSTICS
    return {
        "diagnostics": [_entry(item) for item in asked[:most]],
        "result": "FAIL" if errors else "OK",
        "truncated": len(asked) > most,
    }


def _entry(item: Diagnostic) -> dict[str, str]:
    entry = {"code": item.code, "message": item.message, "severity": item.severity}
    return entry if item.pointer is None else {**entry, "location": item.pointer}
