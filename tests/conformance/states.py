"""Running a TestState case: the recorded request, and an answer or a refusal in AWS's words to compare."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from asfn._json import Payload
from asfn.arn import Arns
from asfn.errors import DefinitionError, InvalidExecutionInput, InvalidParameter, UnsupportedState
from asfn.language.validate import invalid_definition_text
from asfn.runtime.single_state import run_state
from asfn.tasks.protocol import Done
from asfn.testing import VirtualClock, run
from tests.conformance.cases import named_states
from tests.conformance.compare import Matcher
from tests.conformance.lambdas import DescribedFunctions, why_not_played
from tests.conformance.normalise import Placeholders, decode_members
from tests.conformance.script import Texts

if TYPE_CHECKING:
    from asfn.arn import TaskResource
    from asfn.tasks.protocol import Answer, Handler, TaskCall
    from tests.conformance.cases import Case

_REGION: Final = "us-east-1"
_ACCOUNT: Final = "111111111111"


def why_not_tested(case: Case) -> str | None:
    """Why a case cannot be run: its Task is not mocked, and nothing tells how what it calls behaves."""
    if case.data["request"].get("mock") is not None or "response" not in case.expected:
        return None
    definition = case.data.get("definition") or {}
    name = case.data["request"].get("stateName", "StateName")
    states = dict(named_states(definition)) if "States" in definition else {name: definition}
    tested = {name: states.get(name, {})}
    return why_not_played(replace(case, data={**case.data, "definition": {"States": tested}}))


def state_difference(case: Case, seed: int | None) -> str:
    """The first difference as text; empty when the state was tested as recorded."""
    placeholders = Placeholders.of(case.data)
    expected = placeholders.bind(case.expected)
    text = case.data["definition_text"] if "definition_text" in case.data else json.dumps(case.data["definition"])
    functions = RecordedEnvelopes(DescribedFunctions(case, Texts(expected)), expected)

    async def main(clock: VirtualClock) -> dict[str, Any]:
        tested = await run_state(
            {"definition": text, **case.data["request"]},
            resolver=functions,
            clock=clock,
            random=random.Random(0),
            arns=Arns(_REGION, _ACCOUNT),
        )
        return {"response": decode_members(tested.response)}

    try:
        actual = run(main, seed=seed)
    except DefinitionError as error:
        message = f"Invalid State Machine Definition: '{invalid_definition_text(error.diagnostics)}'"
        actual = {"error": {"code": "InvalidDefinition", "message": message}}
    except UnsupportedState as error:
        actual = {"error": {"code": "InvalidDefinition", "message": str(error)}}
    except InvalidParameter as error:
        actual = {"error": {"code": "ValidationException", "message": str(error)}}
    except InvalidExecutionInput as error:
        actual = {"error": {"code": "InvalidExecutionInput", "message": str(error)}}
    if "error" in expected:
        expected["error"].pop("operation", None)
    difference = Matcher(placeholders).difference(expected, actual, "TestState")
    return str(difference) if difference is not None else ""


@dataclass
class RecordedEnvelopes:
    """Functions played from words; what AWS's HTTP layer puts around a result is taken from the recording."""

    functions: DescribedFunctions
    expected: dict[str, Any]

    def resolve(self, resource: TaskResource) -> Handler:
        """This object."""
        return self

    def on_resume(self, call: TaskCall) -> Any:
        """Never asked: nothing is resumed."""
        raise AssertionError("a tested state is never resumed")

    async def submit(self, call: TaskCall) -> Answer:
        """The function's answer in the recorded envelope."""
        answer = await self.functions.submit(call)
        assert isinstance(answer, Done)
        value = answer.value.value
        if not isinstance(value, dict) or "Payload" not in value:
            return answer
        response = self.expected.get("response", {})
        recorded = response.get("inspectionData", {}).get("result", response.get("output"))
        envelope = recorded if isinstance(recorded, dict) and "SdkHttpMetadata" in recorded else {}
        return Done(Payload({**value, **envelope, "Payload": value["Payload"]}))

    async def poll(self, call: TaskCall, job: Any) -> Done | None:
        """Never called: nothing is submitted."""
        raise AssertionError("a described function is never polled")

    async def cancel(self, call: TaskCall, job: Any) -> None:
        """Never called: nothing is submitted."""
