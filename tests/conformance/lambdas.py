"""Functions played from the words in which a case describes them, for cases without recorded task outcomes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from asfn._json import Payload
from asfn.arn import parse_task_resource
from asfn.errors import InvalidArn, TaskFailed
from asfn.tasks.protocol import Done
from tests.conformance.cases import states_in

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.arn import TaskResource
    from asfn.tasks.protocol import Answer, Handler, TaskCall
    from tests.conformance.cases import Case
    from tests.conformance.script import Texts

_ECHO: Final = re.compile(r"returns its event unchanged")
_OBJECT: Final = re.compile(r"ignores its event and returns the object (\{.*\})")
_BYTES: Final = re.compile(r"returns the bytes of the JSON text (\".*\") \(with the quotes\).*")
_RAISES: Final = re.compile(r"always raises a plain Python Exception with the message \"(.*)\"")
_PLAYED: Final = (_ECHO, _OBJECT, _BYTES, _RAISES)


def why_not_played(case: Case) -> str | None:
    """Why a case without recorded outcomes cannot be played from words; None when it can, or has no Task."""
    resources = [state["Resource"] for state in states_in(case.data["definition"]) if "Resource" in state]
    for text in resources:
        try:
            resource = parse_task_resource(text)
        except InvalidArn:
            return f"no task outcomes were recorded, and {text} is none that words describe"
        if resource.service != "lambda" or resource.pattern:
            return f"no task outcomes were recorded for {text}"
    words = [entry["behaviour"] for entry in case.data.get("lambdas", ())]
    if resources and not words:
        return "no task outcomes were recorded and no function is described"
    for behaviour in words:
        if not any(pattern.fullmatch(behaviour) for pattern in _PLAYED):
            return f"no task outcomes were recorded, and {behaviour!r} is not played from words"
    return None


@dataclass
class DescribedFunctions:
    """A Resolver and Handler that plays the functions of a case.

    texts: of the recording; the cause of a raised exception (its stack trace) is taken from there.
    """

    case: Case
    texts: Texts

    def resolve(self, resource: TaskResource) -> Handler:
        """This object."""
        return self

    def on_resume(self, call: TaskCall) -> Literal["run", "fail"]:
        """Never called: nothing crashes here."""
        return "run"

    async def submit(self, call: TaskCall) -> Answer:
        """Answer as Lambda would for the called function."""
        if call.resource.family == "lambda":
            return Done(Payload(self._play(call.resource.action, call.payload.value, compact=False)))
        payload = call.payload.value
        assert isinstance(payload, dict)
        name = str(payload["FunctionName"])
        event = payload.get("Payload")
        result = self._play(name, {} if event is None else event, compact=True)  # no event is an empty object [A]
        return Done(
            Payload(
                {
                    "ExecutedVersion": "$LATEST",
                    "Payload": result,
                    "SdkHttpMetadata": {"HttpStatusCode": 200},
                    "SdkResponseMetadata": {"RequestId": "RequestId"},
                    "StatusCode": 200,
                }
            )
        )

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """Never called: nothing is submitted."""
        raise AssertionError("a described function is never polled")

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """Never called: nothing is submitted."""

    def _play(self, name: str, event: Json, *, compact: bool) -> Json:
        functions = {entry["name"]: entry["behaviour"] for entry in self.case.data.get("lambdas", ())}
        by_arn = {entry["arn"]: entry["behaviour"] for entry in self.case.data.get("lambdas", ())}
        behaviour = functions.get(name) or by_arn.get(name)
        if behaviour is None:
            raise TaskFailed("Lambda.ResourceNotFoundException", f"Function not found: {name}")
        if _ECHO.fullmatch(behaviour):
            return event
        if match := (_OBJECT.fullmatch(behaviour) or _BYTES.fullmatch(behaviour)):
            result: Json = json.loads(match[1])
            return result
        match = _RAISES.fullmatch(behaviour)
        assert match is not None
        raise TaskFailed("Exception", self._cause(match[1], compact=compact))

    def _cause(self, message: str, *, compact: bool) -> str:
        for value, text in self.texts.objects():
            if value.get("errorMessage") == message:
                return text
        cause: dict[str, Any] = {"errorMessage": message, "errorType": "Exception", "requestId": "", "stackTrace": []}
        return json.dumps(cause, separators=(",", ":") if compact else None)
