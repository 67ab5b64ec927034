"""What a pure state may see: its input, the context object, the variables, now and randomness.

One `Scope` per frame, moved from state to state by the interpreter; closures read it and never change it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from asfn.language.timestamps import format_timestamp

if TYPE_CHECKING:
    from random import Random

    from asfn._json import Json, JsonObject, Payload


class ExecutionFacts(Struct, eq=False, gc=False):
    """What is the same for every state of an execution: `Execution` and `StateMachine` of the context object.

    redrive_count is None where AWS leaves it out (synchronous Express, TestState; asl.md section 6); role_arn only
    in TestState, where no role was given. priority: among executions that wait for their turn; no state sees it.
    """

    arn: str
    name: str
    role_arn: str | None
    started_at: float
    input: Payload
    machine_arn: str
    machine_name: str
    express: bool = False
    redrive_count: int | None = 0
    redriven_at: float | None = None
    priority: int = 0
    _context: JsonObject | None = None

    def context(self) -> JsonObject:
        """`{"Execution": {...}, "StateMachine": {...}}`, built once, in AWS's member order."""
        context = self._context
        if context is None:
            start: Json = format_timestamp(self.started_at)
            execution: JsonObject = {"Id": self.arn, "Input": self.input.value}
            if self.express:
                execution |= {"Name": self.name, "RoleArn": self.role_arn, "StartTime": start}
            else:
                execution |= {"StartTime": start, "Name": self.name, "RoleArn": self.role_arn}
            if self.redrive_count is not None:
                execution["RedriveCount"] = self.redrive_count
            if self.redriven_at is not None:
                execution["RedriveTime"] = format_timestamp(self.redriven_at)
            context = self._context = {
                "Execution": execution,
                "StateMachine": {"Id": self.machine_arn, "Name": self.machine_name},
            }
        return context


# What every scope begins with: variables and retries are never changed in place, and most states have none.
_NONE: Final[dict[Any, Any]] = {}


class Scope:
    """The surroundings of the state a frame stands in; implements `language.environment.Environment`.

    input: the raw state input.   retries: attempts used per retrier of this visit.   attempt: their sum.
    map_item: the `Map` part of the context object inside an iteration, None elsewhere.
    """

    __slots__ = (
        "attempt",
        "context_override",
        "counts_retries",
        "entered_at",
        "facts",
        "input",
        "map_item",
        "now",
        "parent",
        "retries",
        "rng",
        "state_name",
        "token",
        "variables",
    )

    def __init__(self, facts: ExecutionFacts, input: Payload, rng: Random, parent: Scope | None = None) -> None:
        self.facts = facts
        self.input = input
        self.rng = rng
        self.parent = parent
        self.variables: dict[str, Payload] = _NONE
        self.map_item: JsonObject | None = parent.map_item if parent is not None else None
        self.state_name = ""
        self.entered_at = 0.0
        self.now = 0.0
        self.attempt = 0
        self.retries: dict[int, int] = _NONE
        self.counts_retries = False
        self.token: str | None = None
        self.context_override: Json = None

    @property
    def context(self) -> Json:
        """The context object of this state. Key order [A]: Execution, StateMachine, State, then Task or Map."""
        if self.context_override is not None:
            return self.context_override
        state: JsonObject = {"Name": self.state_name, "EnteredTime": format_timestamp(self.entered_at)}
        if self.counts_retries:
            state["RetryCount"] = self.attempt
        context: JsonObject = {**self.facts.context(), "State": state}
        if self.token is not None:
            context["Task"] = {"Token": self.token}
        if self.map_item is not None:
            context["Map"] = self.map_item
        return context

    def with_item(self, item: JsonObject) -> Scope:
        """This scope as ItemSelector sees it for one item: the same state, with `$$.Map.Item`."""
        scope = Scope(self.facts, self.input, self.rng, self.parent)
        scope.variables = self.variables
        scope.state_name = self.state_name
        scope.entered_at = self.entered_at
        scope.now = self.now
        scope.attempt = self.attempt
        scope.counts_retries = self.counts_retries
        scope.map_item = item
        if isinstance(self.context_override, dict):  # one that is given says nothing of items
            scope.context_override = {**self.context_override, "Map": item}
        return scope

    def variable(self, name: str) -> Json:
        scope: Scope | None = self
        while scope is not None:
            payload = scope.variables.get(name)
            if payload is not None:
                return payload.value
            scope = scope.parent
        raise KeyError(name)

    def random(self) -> float:
        return self.rng.random()

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
