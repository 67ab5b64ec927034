"""A checked definition as frozen records: what the plan compiles. Built by `build.py`, from valid JSON only.

Templates and expressions stay JSON here; `plan/` compiles them. A field that may hold null, or whose absence means
something else than null, is MISSING when the definition does not have it. Structs of msgspec, not dataclasses: fifteen
of those take 15 to 25 ms to make at import, a tenth of the time from process start to a first result.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, JsonObject

QueryLanguage = Literal["JSONPath", "JSONata"]


class Missing(enum.Enum):
    """The type of MISSING, the mark of a field that the definition does not have."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING


class Retrier(Struct, frozen=True):
    """One entry of Retry (asl.md 7.8)."""

    error_equals: tuple[str, ...]
    interval_seconds: int = 1
    max_attempts: int = 3
    backoff_rate: float = 2.0
    max_delay_seconds: int | None = None
    full_jitter: bool = False


class Catcher(Struct, frozen=True):
    """One entry of Catch (asl.md 7.9). result_path: JSONPath only; None means the error output is thrown away."""

    error_equals: tuple[str, ...]
    next: str
    result_path: str | None = "$"
    output: Json | Missing = MISSING
    assign: JsonObject | None = None


class ChoiceRule(Struct, frozen=True):
    """One top-level rule. JSONPath: `comparison` is the rule without Next, Assign and Comment. JSONata: `condition`."""

    next: str
    comparison: JsonObject | None = None
    condition: Json | Missing = MISSING
    output: Json | Missing = MISSING
    assign: JsonObject | None = None


class State(Struct, frozen=True, kw_only=True):
    """What all states share. next is None for a terminal state (End, Succeed, Fail) and for Choice.

    input_path, output_path: JSONPath only, None means null.
    """

    name: str
    query_language: QueryLanguage
    comment: str | None = None
    next: str | None = None
    input_path: str | None = "$"
    output_path: str | None = "$"
    output: Json | Missing = MISSING
    assign: JsonObject | None = None


class PassState(State, frozen=True, kw_only=True):
    parameters: Json | Missing = MISSING
    result: Json | Missing = MISSING
    result_path: str | None = "$"


class SucceedState(State, frozen=True, kw_only=True):
    pass


class FailState(State, frozen=True, kw_only=True):
    """error, cause: literal or (JSONata) expression. The path forms hold a reference path or an intrinsic call."""

    error: str | None = None
    cause: str | None = None
    error_path: str | None = None
    cause_path: str | None = None


class WaitState(State, frozen=True, kw_only=True):
    """Exactly one of the four is set. seconds, timestamp: literal or (JSONata) expression."""

    seconds: int | str | None = None
    timestamp: str | None = None
    seconds_path: str | None = None
    timestamp_path: str | None = None


class ChoiceState(State, frozen=True, kw_only=True):
    choices: tuple[ChoiceRule, ...]
    default: str | None = None


class WorkState(State, frozen=True, kw_only=True):
    """What Task, Parallel and Map share. arguments is Parameters (JSONPath) or Arguments (JSONata)."""

    arguments: Json | Missing = MISSING
    result_selector: Json | Missing = MISSING
    result_path: str | None = "$"
    retry: tuple[Retrier, ...] = ()
    catch: tuple[Catcher, ...] = ()


class TaskState(WorkState, frozen=True, kw_only=True):
    """timeout_seconds, heartbeat_seconds: a number, or (JSONata) an expression. credentials: template or expression."""

    resource: str
    timeout_seconds: int | str | None = None
    timeout_seconds_path: str | None = None
    heartbeat_seconds: int | str | None = None
    heartbeat_seconds_path: str | None = None
    credentials: Json | Missing = MISSING


class ParallelState(WorkState, frozen=True, kw_only=True):
    branches: tuple[StateMachine, ...]


class MapState(WorkState, frozen=True, kw_only=True):
    """Map, both modes. item_selector also holds the old Parameters; `arguments` is unused.

    items: JSONata only, MISSING means `$states.input`. distributed holds the raw fields of distributed mode
    (ItemReader, ItemBatcher, ResultWriter, Label and the tolerances), as written.
    """

    processor: StateMachine
    items: Json | Missing = MISSING
    items_path: str | None = None
    item_selector: Json | Missing = MISSING
    max_concurrency: int | str | None = None
    max_concurrency_path: str | None = None
    mode: Literal["INLINE", "DISTRIBUTED"] = "INLINE"
    execution_type: Literal["STANDARD", "EXPRESS"] = "STANDARD"
    distributed: Mapping[str, Json]


class StateMachine(Struct, frozen=True, kw_only=True):
    """A definition, or a nested machine (a branch, an item processor). query_language is the outermost one's."""

    start_at: str
    states: Mapping[str, State]
    comment: str | None = None
    timeout_seconds: int | None = None
    query_language: QueryLanguage = "JSONPath"
