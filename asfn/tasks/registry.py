"""Which handler answers a Task's Resource: Python functions by name, exact ARNs, and routes with wildcards.

The most specific registration wins, whenever it was made: an exact text, then a Lambda function's name, then
the route with the most literal characters; of equals the later one. `lambda:invoke` is answered by whoever
answers the function that its parameters name.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final, Literal

from asfn.errors import InvalidName, UnroutedResource
from asfn.tasks.activity import QUEUE
from asfn.tasks.invocation import (
    INVOKE,
    FunctionReference,
    function_not_found,
    function_of,
    is_invoke,
    read_invocation,
    request_id_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asfn._json import Json
    from asfn.arn import TaskResource
    from asfn.tasks.protocol import Answer, Done, Handler, TaskCall

_LOG: Final = logging.getLogger("asfn.tasks")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,140}")

OnResume = Literal["run", "fail"]


class Registry:
    """The Resolver of an engine. Registrations may be made at any time and hold from the next resolve on."""

    def __init__(self) -> None:
        self._exact: dict[str, Handler] = {}
        self._names: dict[str, Handler] = {}
        self._routes: dict[str, tuple[re.Pattern[str], Handler]] = {}
        self._resolved: dict[str, Handler] = {}  # by Resource text, until the next registration

    def function(self, name_or_arn: str, handler: Handler) -> None:
        """Let a handler answer one function.

        A name answers every Lambda ARN and every FunctionName with that name, whatever region, account and
        qualifier. An ARN answers itself alone: a function's (without a qualifier, all its versions), or any
        other Resource's. A second registration under the same name replaces the first. Raises InvalidName.
        """
        self._resolved.clear()
        if name_or_arn.startswith("arn:") and not _has_wildcards(name_or_arn):
            self._exact[name_or_arn] = handler
        elif _NAME.fullmatch(name_or_arn):
            self._names[name_or_arn] = handler
        else:
            raise InvalidName(
                f"{name_or_arn!r} is neither a Lambda function's name nor an ARN; for wildcards use route()"
            )

    def route(self, pattern: str, to: Handler) -> None:
        """Let a handler answer every Resource, and every function of lambda:invoke, that fits the pattern.

        pattern: an ARN in which `*` stands for any characters, colons too, and `?` for one. The same pattern
            again replaces the route. `arn:aws:states:::sqs:sendMessage` answers `….waitForTaskToken` as well.
        """
        self._resolved.clear()
        if not _has_wildcards(pattern):
            self._exact[pattern] = to
            return
        self._routes.pop(pattern, None)
        self._routes[pattern] = (_compile(pattern), to)

    def resolve(self, resource: TaskResource) -> Handler:
        """The handler that answers; QUEUE for an activity that nobody is registered for: its workers poll.

        Raises UnroutedResource with the nearest names and what to do.
        """
        handler = self._resolved.get(resource.text)
        if handler is None:
            if is_invoke(resource):
                handler = _Invoke(self, self._find(_texts(resource)))
            elif resource.family == "lambda":
                handler = self.of_function(FunctionReference.of(resource))
            else:
                handler = self._find(_texts(resource))
            if handler is None and resource.family == "activity":
                handler = QUEUE
            if handler is None:
                raise UnroutedResource(self._unrouted(resource))
            self._resolved[resource.text] = handler
        return handler

    def of_function(self, function: FunctionReference) -> Handler | None:
        """The handler of a Lambda function, or None."""
        return self._find((function.arn, function.unqualified_arn), function.name)

    def on_resume(self, call: TaskCall) -> OnResume:
        """Whether a call that a crash interrupted is made again ("run") or fails. Raises UnroutedResource."""
        handler = self.resolve(call.resource)
        if isinstance(handler, _Invoke):
            chosen = handler.choose(call)
            return "run" if chosen is None else _on_resume(chosen)
        return _on_resume(handler)

    def nearest(self, wanted: str, names: Iterable[str] | None = None) -> list[str]:
        """Up to three registered names, ARNs or patterns that resemble the wanted one, best first."""
        known = [*self._names, *self._exact, *self._routes] if names is None else list(names)
        import difflib  # for errors only

        return difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)

    def nearest_functions(self, function: FunctionReference) -> list[str]:
        """Up to three registered names, ARNs or patterns that resemble a function's name or ARN."""
        return self.nearest(function.name, self._names) or self.nearest(function.arn)

    def _find(self, texts: tuple[str, ...], name: str | None = None) -> Handler | None:
        """The most specific registration for these texts, which stand from the most to the least specific."""
        for text in texts:
            if text in self._exact:
                return self._exact[text]
        if name is not None and name in self._names:
            return self._names[name]
        fitting = [
            (_literal_length(pattern), position, handler)
            for position, (pattern, (expression, handler)) in enumerate(self._routes.items())
            if any(expression.fullmatch(text) for text in texts)
        ]
        return max(fitting, key=lambda route: route[:2])[2] if fitting else None

    def _unrouted(self, resource: TaskResource) -> str:
        if resource.family == "lambda":
            near = self.nearest_functions(FunctionReference.of(resource))
            cure = f"register a function with engine.function({resource.action!r})"
        else:
            near = self.nearest(resource.text)
            cure = f"register a handler with engine.route({resource.text!r}, to=...)"
        registered = [*self._names, *self._exact, *self._routes]
        if near:
            known = f"the nearest registered names are {_listed(near)}"
        elif registered:
            known = f"registered are {_listed(registered[:10])}{' and others' if len(registered) > 10 else ''}"
        else:
            known = "nothing is registered"
        return f"no handler answers {resource.text}: {known}; {cure}, or route a pattern that fits the ARN"


class _Invoke:
    """Answers `lambda:invoke`: by the function the parameters name, else by the integration's own route."""

    def __init__(self, registry: Registry, fallback: Handler | None) -> None:
        self._registry = registry
        self._fallback = fallback

    def choose(self, call: TaskCall) -> Handler | None:
        """The handler for this call, or None."""
        function = function_of(call)
        handler = self._registry.of_function(function) if function is not None else None
        return self._fallback if handler is None else handler

    async def submit(self, call: TaskCall) -> Answer:
        handler = self.choose(call)
        if handler is None:
            function = read_invocation(call).function  # parameters that name no function fail here
            near = self._registry.nearest_functions(function)
            _LOG.warning(
                "%s in state %r of %s: no handler answers function %r; %s",
                INVOKE,
                call.state_name,
                call.execution_arn,
                function.name,
                f"the nearest registered names are {_listed(near)}" if near else "no registered name is near",
            )
            raise function_not_found(function, request_id_of(call))
        return await handler.submit(call)

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        handler = self.choose(call)
        if handler is None:
            raise UnroutedResource(self._registry._unrouted(call.resource))
        return await handler.poll(call, job)

    async def cancel(self, call: TaskCall, job: Json) -> None:
        handler = self.choose(call)
        if handler is not None:
            await handler.cancel(call, job)


def _texts(resource: TaskResource) -> tuple[str, ...]:
    """What a route may be written for: the Resource, and the Resource without its pattern's suffix."""
    if not resource.pattern:
        return (resource.text,)
    return (resource.text, resource.text.removesuffix(f".{resource.pattern}"))


def _on_resume(handler: Handler) -> OnResume:
    return "fail" if getattr(handler, "on_resume", "run") == "fail" else "run"


def _has_wildcards(text: str) -> bool:
    return "*" in text or "?" in text


def _literal_length(pattern: str) -> int:
    return sum(character not in "*?" for character in pattern)


def _compile(pattern: str) -> re.Pattern[str]:
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern))
    return re.compile("".join(parts), re.DOTALL)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
