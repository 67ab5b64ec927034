"""What TestState is asked: the request taken apart and refused where AWS refuses it, in its words.

Nothing is run here. Order of the checks: the request by itself, the definition, the state against the request, the
texts in the request. Source: api.md section 9; the order between two faults of one request is mostly [U].
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from asfn._json import EMPTY_OBJECT, Json, JsonError, JsonObject, Payload, decode
from asfn.arn import TaskResource, name_of, parse_task_resource
from asfn.errors import DefinitionError, InvalidExecutionInput, InvalidParameter, UnsupportedState
from asfn.language.model import MISSING, MapState, Missing, ParallelState, TaskState
from asfn.language.paths import is_variable_name
from asfn.language.reader import build_state, read_document
from asfn.language.validate import validate, validate_state
from asfn.plan.effects import Failure
from asfn.runtime.texts import input_refusal
from asfn.tasks.answers import Mode, answer_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn.language.model import QueryLanguage, State

Level = Literal["INFO", "DEBUG", "TRACE"]
Request = Mapping[str, Any]
"""The members of AWS's TestState call, under their names there. Any: each is looked at before it is used."""

SINGLE_STATE_NAME: Final = "StateName"
"""What a state that is given by itself is called in findings, and every tested state in its context object [A]."""

_LEVELS: Final = ("INFO", "DEBUG", "TRACE")
_MODES: Final = ("STRICT", "PRESENT", "NONE")
_DATA: Final = (0, 262_144)
# Texts of the request: fewest and most characters [M].
_LENGTHS: Final[Mapping[str, tuple[int, int]]] = {
    "definition": (1, 1_048_576),
    "roleArn": (1, 256),
    "stateName": (1, 80),
    "input": _DATA,
    "variables": _DATA,
    "context": _DATA,
    "mock.result": _DATA,
    "mock.errorOutput.error": (0, 256),
    "mock.errorOutput.cause": (0, 32_768),
    "stateConfiguration.errorCausedByState": (1, 80),
    "stateConfiguration.mapItemReaderData": _DATA,
}

# What a given context object may hold: member -> type, or members.
_CONTEXT: Final[Mapping[str, Any]] = {
    "Execution": {
        "Id": "string",
        "Input": None,
        "Name": "string",
        "RoleArn": "string",
        "StartTime": "string",
        "RedriveCount": "number",
        "RedriveTime": "string",
    },
    "State": {"EnteredTime": "string", "Name": "string", "RetryCount": "number"},
    "StateMachine": {"Id": "string", "Name": "string"},
    "Task": {"Token": "string"},
}


@dataclass(frozen=True, slots=True)
class Mock:
    """What is taken for the outcome of the state's work: a result or a failure, exactly one of them."""

    result: Payload | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class StateRequest:
    """A TestState request that nothing is wrong with.

    fields: the state as it is written.   context: MISSING when none was given.   reader_items: of `mapItemReaderData`.
    """

    state: State
    fields: JsonObject
    input: Payload
    variables: Payload
    level: Level
    mock: Mock | None
    context: Json | Missing
    role_arn: str | None
    retry_count: int
    iteration_failures: int | None
    reader_items: list[Json] | None

    @property
    def resource(self) -> TaskResource | None:
        """What a Task calls; None for other states."""
        return parse_task_resource(self.state.resource) if isinstance(self.state, TaskState) else None


def read_request(request: Request) -> StateRequest:
    """Check a request and take it apart.

    Raises DefinitionError, UnsupportedState (AWS's InvalidDefinition both), InvalidParameter (ValidationException),
    InvalidArn and InvalidExecutionInput.
    """
    configuration: Request = _object(request, "stateConfiguration") or {}
    mock = _object(request, "mock")
    _check_members(request, configuration, mock)
    fields, state = _find_state(request)
    _check_state(state, mock, request)
    mocked = _read_mock(mock, state) if mock is not None else None
    return StateRequest(
        state=state,
        fields=fields,
        input=_read_input(request.get("input")),
        variables=_read_variables(request.get("variables")),
        level=request.get("inspectionLevel") or "INFO",
        mock=mocked,
        context=_read_context(request["context"], state) if request.get("context") is not None else MISSING,
        role_arn=request.get("roleArn"),
        retry_count=configuration.get("retrierRetryCount") or 0,
        iteration_failures=configuration.get("mapIterationFailureCount"),
        reader_items=_read_reader_data(configuration.get("mapItemReaderData"), fields),
    )


# --- the request by itself -----------------------------------------------------------------------------------------


def _object(request: Request, name: str) -> Request | None:
    value = request.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidParameter(f"'{name}' must be an object")
    return value


def _check_members(request: Request, configuration: Request, mock: Request | None) -> None:
    _check_values(request, configuration, mock)
    if request.get("roleArn") is not None:
        name_of(request["roleArn"])  # InvalidArn is among the errors of the call [M], and no other member is an ARN
    if mock is None:
        # [A] for the first one; that the others go the same way is likely [U].
        for given, name in (
            (configuration.get("mapIterationFailureCount"), "MapIterationFailureCount"),
            (configuration.get("retrierRetryCount"), "RetrierRetryCount"),
            (configuration.get("errorCausedByState"), "ErrorCausedByState"),
            (configuration.get("mapItemReaderData"), "MapItemReaderData"),
            (request.get("context"), "Context"),
        ):
            if given is not None:
                raise InvalidParameter(f"TestState does not support {name} when a mock is not specified.")
        return
    if (mock.get("result") is None) == (mock.get("errorOutput") is None):
        raise InvalidParameter("A test mock should have only one of the following fields: [result, errorOutput].")
    if request.get("revealSecrets"):
        raise InvalidParameter("TestState does not support RevealSecrets when a mock is specified.")


def _check_values(request: Request, configuration: Request, mock: Request | None) -> None:
    """Types, sizes and words of the members, which AWS's model of the call fixes."""
    if request.get("definition") is None:
        raise InvalidParameter(_constraint(" null", "definition", "Member must not be null"))
    failed = (mock or {}).get("errorOutput") or {}
    if not isinstance(failed, Mapping):
        raise InvalidParameter("'mock.errorOutput' must be an object")
    for place, members in (
        ("", request),
        ("mock.", mock or {}),
        ("mock.errorOutput.", failed),
        ("stateConfiguration.", configuration),
    ):
        for name, value in members.items():
            if value is not None and (bounds := _LENGTHS.get(f"{place}{name}")) is not None:
                _check_text(value, f"{place}{name}", *bounds)
    _one_of(request.get("inspectionLevel"), "inspectionLevel", _LEVELS)
    _one_of((mock or {}).get("fieldValidationMode"), "mock.fieldValidationMode", _MODES)
    for name in ("retrierRetryCount", "mapIterationFailureCount"):
        value = configuration.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            rule = "Member must have value greater than or equal to 0"
            raise InvalidParameter(_constraint(f" '{value}'", f"stateConfiguration.{name}", rule))


def _check_text(value: object, place: str, least: int, most: int) -> None:
    if not isinstance(value, str):
        raise InvalidParameter(f"'{place}' must be a text")
    if not least <= len(value) <= most:
        bound = f"greater than or equal to {least}" if len(value) < least else f"less than or equal to {most}"
        # The members are marked sensitive, so that their values are not repeated [U].
        raise InvalidParameter(_constraint("", place, f"Member must have length {bound}"))


def _one_of(value: object, place: str, words: tuple[str, ...]) -> None:
    if value is not None and value not in words:
        rule = f"Member must satisfy enum value set: [{', '.join(words)}]"  # the order of the words [U]
        raise InvalidParameter(_constraint(f" '{value}'", place, rule))


def _constraint(value: str, place: str, rule: str) -> str:
    return f"1 validation error detected: Value{value} at '{place}' failed to satisfy constraint: {rule}"


# --- the definition ------------------------------------------------------------------------------------------------


def _find_state(request: Request) -> tuple[JsonObject, State]:
    """The state to test: the definition itself, or the state of that name anywhere in the machine."""
    document = read_document(request["definition"], format="json")
    wanted = request.get("stateName")
    diagnostics = validate_state(document) if wanted is None else validate(document)
    if any(diagnostic.severity == "ERROR" for diagnostic in diagnostics):
        raise DefinitionError(diagnostics)
    definition = cast("JsonObject", document.value)
    if wanted is None:
        return definition, build_state(SINGLE_STATE_NAME, definition)
    language: QueryLanguage = "JSONata" if definition.get("QueryLanguage") == "JSONata" else "JSONPath"
    for name, fields in _states(definition):
        if name == wanted:
            return fields, build_state(name, fields, language)
    raise InvalidParameter("State not found in definition")


def _states(machine: Any) -> Iterator[tuple[str, JsonObject]]:  # Any: a machine that was checked
    """Every state of a valid machine with its name; those of nested machines follow the state that holds them."""
    for name, fields in machine["States"].items():
        yield name, fields
        for branch in fields.get("Branches", ()):
            yield from _states(branch)
        for processor in ("ItemProcessor", "Iterator"):
            if processor in fields:
                yield from _states(fields[processor])


# --- the state against the request ---------------------------------------------------------------------------------


def _check_state(state: State, mock: Request | None, request: Request) -> None:
    kind = type(state).__name__.removesuffix("State")
    if mock is not None:
        if not isinstance(state, (TaskState, MapState, ParallelState)):
            raise InvalidParameter(f"State type '{kind}' is not supported when a mock is specified")
        return
    if isinstance(state, (MapState, ParallelState)):
        raise UnsupportedState(
            "TestState API does not support Map or Parallel states. Supported state types include: "
            "[Task, Wait, Pass, Succeed, Fail, Choice]"
        )
    if isinstance(state, TaskState):
        resource = parse_task_resource(state.resource)
        if resource.family == "activity" or resource.pattern:  # [U] AWS's words
            what = "Activity tasks" if resource.family == "activity" else f".{resource.pattern} service integrations"
            raise UnsupportedState(f"TestState API does not support {what} when a mock is not specified.")
        if not request.get("roleArn"):
            raise InvalidParameter("RoleArn must be specified when testing a Task state")


def _read_mock(mock: Request, state: State) -> Mock:
    failed = mock.get("errorOutput")
    if failed is not None:
        error = failed.get("error")
        kind: Literal["task", "timeout", "runtime"] = "task"
        if error in ("States.Timeout", "States.HeartbeatTimeout"):
            kind = "timeout"
        elif error == "States.Runtime":
            kind = "runtime"
        return Mock(None, Failure(error, failed.get("cause"), kind))
    try:
        result = Payload.parse(mock["result"])
    except JsonError:
        raise InvalidParameter("Mocked result must be valid JSON") from None
    fault = _result_fault(result.value, state, mock.get("fieldValidationMode") or "STRICT")
    if fault is not None:
        raise InvalidParameter(fault)
    return Mock(result, None)


def _result_fault(result: Json, state: State, mode: Mode) -> str | None:
    """What makes a mocked result impossible for the state; AWS's sentence."""
    if isinstance(state, TaskState):
        fault = answer_fault(parse_task_resource(state.resource), result, mode)
        return f"Mock result schema validation error: {fault}" if fault is not None else None
    if isinstance(state, MapState):
        writer = state.distributed.get("ResultWriter")
        if isinstance(writer, dict) and "Resource" in writer:  # exported: the result tells where to
            return None if isinstance(result, dict) else "Mocked result must be a JSON object."
    if not isinstance(result, list):
        return "Mocked result must be an array."
    if isinstance(state, ParallelState) and len(result) != len(state.branches):
        return "Mocked result must contain the same number of items as number of Parallel branches."
    return None


# --- the texts in the request --------------------------------------------------------------------------------------


def _read_input(text: str | None) -> Payload:
    if text is None:
        return EMPTY_OBJECT
    try:
        return Payload.parse(text)
    except JsonError as error:
        raise InvalidExecutionInput(input_refusal(text, error)) from None


def _read_variables(text: str | None) -> Payload:
    if text is None:
        return EMPTY_OBJECT
    try:
        variables = Payload.parse(text)
    except JsonError:
        raise InvalidParameter("Variables must be valid JSON") from None  # [U] wording
    if not isinstance(variables.value, dict):
        raise InvalidParameter("Variables must be a JSON object")  # [U] wording
    for name in variables.value:
        if not is_variable_name(name) or name == "states":
            raise InvalidParameter(f"Invalid variable name: '{name}'")  # [U] wording
    return variables


def _read_context(text: str, state: State) -> Json:
    try:
        context = decode(text)
    except JsonError:
        raise InvalidParameter("Invalid Context object provided: Context must be valid JSON") from None  # [U] wording
    fault = _context_fault(context, state)
    if fault is not None:
        raise InvalidParameter(f"Invalid Context object provided: {fault}")
    return context


def _context_fault(context: Json, state: State) -> str | None:
    if not isinstance(context, dict):
        return "Context must be a JSON object"  # [U] wording
    if "Map" in context:
        return "'Map' field is not supported when mocking a Context object"
    if "Task" in context and not _has_token(state):
        return (
            "Context object contains 'Task' when state is not a Task state with a '.sync' or '.waitForTaskToken' "
            "service integration pattern"
        )
    return _members_fault(context, _CONTEXT, "")


def _has_token(state: State) -> bool:
    return isinstance(state, TaskState) and bool(parse_task_resource(state.resource).pattern)


def _members_fault(value: JsonObject, allowed: Mapping[str, Any], place: str) -> str | None:
    for key, member in value.items():
        if key not in allowed:
            return f"Field '{key}' is not allowed"
        want = allowed[key]
        where = f"{place}{key}"
        if want == "string" and not isinstance(member, str):
            return f"{where} must be a string"
        if want == "number" and (isinstance(member, bool) or not isinstance(member, (int, float))):
            return f"{where} must be a number"  # [U] wording
        if isinstance(want, Mapping):
            if not isinstance(member, dict):
                return f"{where} must be an object"  # [U] wording
            fault = _members_fault(member, want, f"{where}.")
            if fault is not None:
                return fault
    return None


def _read_reader_data(text: str | None, fields: JsonObject) -> list[Json] | None:
    """The items in the data that an ItemReader is taken to have read, "as found in its original source" [D]."""
    reader = fields.get("ItemReader")
    if text is None or not isinstance(reader, dict):
        return None
    config = reader.get("ReaderConfig")
    settings: JsonObject = config if isinstance(config, dict) else {}
    kind = settings.get("InputType")
    try:
        if kind == "CSV":
            return _csv_items(text, settings)
        if kind == "JSONL":
            return [decode(line) for line in text.splitlines() if line.strip()]
        items = decode(text)
    except (JsonError, csv.Error):
        raise InvalidParameter("The value of MapItemReaderData cannot be read") from None  # [U] wording
    pointer = settings.get("ItemsPointer")
    if isinstance(pointer, str):
        items = _pointed(items, pointer)
    if isinstance(items, dict):  # since September 2025 an object counts as its entries [D]; their form [U]
        return [{"Key": key, "Value": value} for key, value in items.items()]
    if not isinstance(items, list):
        raise InvalidParameter("Attempting to map over non-iterable node.")  # the reader's own words [A]; here [U]
    return items


def _csv_items(text: str, settings: JsonObject) -> list[Json]:
    """Rows as objects of texts (asl.md 8.4): too few fields are empty, too many are dropped."""
    delimiters = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}
    delimiter = delimiters.get(str(settings.get("CSVDelimiter", "COMMA")), ",")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, escapechar="\\"))
    headers = settings.get("CSVHeaders")
    if not isinstance(headers, list):
        headers, rows = (list(rows[0]), rows[1:]) if rows else ([], [])
    return [
        {str(header): row[index] if index < len(row) else "" for index, header in enumerate(headers)}
        for row in rows
        if row
    ]


def _pointed(value: Json, pointer: str) -> Json:
    """The node at a JSON Pointer, null where there is none."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
