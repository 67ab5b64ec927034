"""One Lambda invocation as Step Functions sees it: what a Task asks for, and how answers and errors are told.

Pure: it reads a `TaskCall` and builds results and `TaskFailed`s; a Python function (`function.py`) and the
real service (`lambda_.py`) both answer through it, so that a state machine cannot tell them apart. Facts:
integrations.md section 5, errors.md sections 2 and 3.4.
"""

from __future__ import annotations

import base64
import re
import uuid
from typing import TYPE_CHECKING, Final, Literal, cast

from msgspec import Struct

from asfn._json import JsonError, Payload, decode, encode
from asfn.errors import TaskFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, JsonObject
    from asfn.arn import TaskResource
    from asfn.tasks.protocol import TaskCall

InvocationType = Literal["RequestResponse", "Event", "DryRun"]

LATEST: Final = "$LATEST"
INVOKE: Final = "arn:aws:states:::lambda:invoke"

# A name, a partial ARN or a full one, with a version or alias or without.
_FUNCTION_NAME: Final = re.compile(
    r"(?:arn:(?P<partition>aws[\w-]*):lambda:(?P<region>[\w-]+):)?(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[\w.-]+)(?::(?P<qualifier>\$LATEST|[\w-]+))?",
    re.ASCII,
)
# What Lambda quotes when it refuses a FunctionName [M].
_FUNCTION_NAME_PATTERN: Final = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)"
    r"(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
_REQUESTS: Final = uuid.UUID("7c3e8a52-3f0e-4f0b-9a3e-0d4a7f7e6b11")
_TYPES: Final = ("Event", "DryRun", "RequestResponse")
# Every parameter but Payload; all are texts [M].
_TEXT_FIELDS: Final = (
    "ClientContext",
    "DurableExecutionName",
    "FunctionName",
    "InvocationType",
    "LogType",
    "Qualifier",
    "TenantId",
)


class FunctionReference(Struct, frozen=True):
    """Which function is meant. region, account: "" when the text gave none. qualifier: version or alias."""

    name: str
    region: str = ""
    account: str = ""
    qualifier: str | None = None
    partition: str = "aws"

    @classmethod
    def parse(cls, text: str) -> FunctionReference | None:
        """Take `name`, `name:alias`, `123456789012:function:name` or an ARN apart; None for other texts."""
        match = _FUNCTION_NAME.fullmatch(text)
        if match is None:
            return None
        return cls(
            match["name"],
            match["region"] or "",
            match["account"] or "",
            match["qualifier"],
            match["partition"] or "aws",
        )

    @classmethod
    def of(cls, resource: TaskResource) -> FunctionReference:
        """The function whose ARN a Resource is."""
        partition = resource.text.split(":", 2)[1]
        return cls(resource.action, resource.region, resource.account, resource.qualifier, partition)

    @property
    def unqualified_arn(self) -> str:
        return f"arn:{self.partition}:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def arn(self) -> str:
        """The function's ARN, with its qualifier when there is one."""
        return f"{self.unqualified_arn}:{self.qualifier}" if self.qualifier else self.unqualified_arn


def is_invoke(resource: TaskResource) -> bool:
    """Whether the resource is the integration `lambda:invoke`, with or without `.waitForTaskToken`."""
    return resource.family == "service" and resource.service == "lambda" and resource.action == "invoke"


def request_id_of(call: TaskCall) -> str:
    """The request id of a call that never reaches AWS: one per attempt, the same when a crash repeats it."""
    return str(uuid.uuid5(_REQUESTS, call.idempotency_key))


class Invocation(Struct, frozen=True):
    """What one Task asks of Lambda.

    function: region and account filled in from the execution where the Task named none.
    function_name: as the Task wrote it; the whole ARN for a function ARN.
    event: JSON text to send, unparsed; None to send no payload at all, which a function sees as `{}` [A].
    optimised: `lambda:invoke`, whose result wraps the function's, against a plain function ARN.
    """

    function: FunctionReference
    function_name: str
    event: str | None
    optimised: bool
    invocation_type: InvocationType = "RequestResponse"
    log_tail: bool = False
    parameters: Mapping[str, str] | None = None


def read_invocation(call: TaskCall) -> Invocation:
    """The invocation a call asks for. Raises TaskFailed for parameters that AWS refuses."""
    resource = call.resource
    if not is_invoke(resource):
        if resource.family != "lambda":
            raise ValueError(f"{resource.text} is neither a Lambda function nor {INVOKE}")
        return Invocation(FunctionReference.of(resource), resource.text, call.payload.text, optimised=False)
    parameters = _checked_parameters(call)
    function_name = cast("str", parameters["FunctionName"])
    function = FunctionReference.parse(function_name)
    if function is None:
        raise _invalid(
            call,
            f"Value '{function_name}' at 'functionName' failed to satisfy constraint: Member must satisfy "
            f"regular expression pattern: {_FUNCTION_NAME_PATTERN}",
        )
    invocation_type = parameters.get("InvocationType") or "RequestResponse"
    if invocation_type not in _TYPES:
        raise _invalid(
            call,
            f"Value '{invocation_type}' at 'invocationType' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(_TYPES)}]",
        )
    return Invocation(
        _located(function, cast("str | None", parameters.get("Qualifier")), call.execution_arn),
        function_name,
        _event_text(parameters.get("Payload")),
        optimised=True,
        invocation_type=cast("InvocationType", invocation_type),
        log_tail=parameters.get("LogType") == "Tail",
        parameters={name: cast("str", parameters[name]) for name in _TEXT_FIELDS if parameters.get(name)},
    )


def function_of(call: TaskCall) -> FunctionReference | None:
    """The function a call names, without judging the rest of it; None when it names none."""
    if not is_invoke(call.resource):
        return FunctionReference.of(call.resource) if call.resource.family == "lambda" else None
    parameters = call.payload.value
    name = parameters.get("FunctionName") if isinstance(parameters, dict) else None
    function = FunctionReference.parse(name) if isinstance(name, str) else None
    if function is None or not isinstance(parameters, dict):
        return None
    qualifier = parameters.get("Qualifier")
    return _located(function, qualifier if isinstance(qualifier, str) else None, call.execution_arn)


def _checked_parameters(call: TaskCall) -> JsonObject:
    """The parameters of lambda:invoke, checked; a refusal has the words of errors.md section 3.1."""
    parameters = call.payload.value
    problems: list[str] = []
    if not isinstance(parameters, dict):
        problems.append("The value has an invalid format")  # [U]
    else:
        # A null stands for a field that is not there: recorded for Payload [A], assumed for the others [U].
        if parameters.get("FunctionName") in (None, ""):
            problems.append("The field 'FunctionName' is required but was missing")
        problems += [
            f"The value of the field '{name}' has an invalid format"
            for name in _TEXT_FIELDS
            if not isinstance(parameters.get(name), str | None)
        ]
        problems += [
            f"The field '{name}' is not supported by Step Functions"
            for name in parameters
            if name not in _TEXT_FIELDS and name != "Payload"
        ]
    if problems:
        given = call.payload.text
        text = f"The Parameters '{given}' could not be used to start the Task: [{', '.join(problems)}]"
        raise TaskFailed("States.Runtime", text)
    return cast("JsonObject", parameters)


def _located(function: FunctionReference, qualifier: str | None, execution_arn: str) -> FunctionReference:
    """The function with what its text left open: Qualifier, and region and account of the execution."""
    parts = execution_arn.split(":")
    _, partition, _, region, account = parts[:5] if len(parts) > 4 else ("arn", "aws", "", "", "")
    return FunctionReference(
        function.name,
        function.region or region,
        function.account or account,
        function.qualifier or qualifier,
        function.partition if function.region else partition,
    )


def _event_text(payload: Json) -> str | None:
    """The text sent for a Payload parameter: a text goes as it is, any other value as compact JSON."""
    if payload is None:
        return None
    return payload if isinstance(payload, str) else encode(payload)


def _invalid(call: TaskCall, problem: str) -> TaskFailed:
    """A request that Lambda's own checks refuse. The wording is the service's, the error's name is [U]."""
    return service_error("ValidationException", 400, f"1 validation error detected: {problem}", request_id_of(call))


def service_error(
    code: str, status: int, message: str, request_id: str | None, *, error: str | None = None
) -> TaskFailed:
    """An error of Lambda's API as the SDK v1 of the integration reports it (errors.md 3.4).

    code: the wire code.   error: the Error's name; without it `Lambda.` and the code for the exceptions the
        SDK knows, and the service's own class `Lambda.AWSLambdaException` for the rest.
    """
    if error is None:
        error = f"Lambda.{code}" if code in MODELLED else "Lambda.AWSLambdaException"
    where = f"Service: AWSLambda; Status Code: {status}; Error Code: {code}; Request ID: {request_id or 'null'}"
    return TaskFailed(error, f"{message} ({where}; Proxy: null)")


def client_error(message: str) -> TaskFailed:
    """A failure before any answer of Lambda: no connection, no credentials, no answer in time."""
    return TaskFailed("Lambda.SdkClientException", message)


def function_not_found(function: FunctionReference, request_id: str | None) -> TaskFailed:
    """No such function. The text is the recorded one: always with a qualifier [A]."""
    arn = f"{function.unqualified_arn}:{function.qualifier or LATEST}"
    return service_error("ResourceNotFoundException", 404, f"Function not found: {arn}", request_id)


def unreadable_event(error: JsonError, request_id: str | None) -> TaskFailed:
    """A Payload text that is not JSON, which Lambda refuses. Lambda names its parser's own complaint [U]."""
    message = f"Could not parse request body into json: {error}"
    return service_error("InvalidRequestContentException", 400, message, request_id)


def function_error(text: str, *, optimised: bool) -> TaskFailed:
    """The function ran and failed. text: its error payload, `{"errorMessage": ..., "errorType": ..., ...}`.

    The cause is the payload: compact for the optimised integration, as the function wrote it for an ARN [A].
    """
    try:
        document = decode(text)
    except JsonError:
        document = None
    name = document.get("errorType") if isinstance(document, dict) else None
    if not isinstance(name, str) or not name:
        # Lambda's sandbox died, or an old runtime timed out: no error type is told. Wording [R].
        return TaskFailed(
            "Lambda.Unknown",
            f"The cause could not be determined because Lambda did not return an error type. Returned payload: {text}",
        )
    return TaskFailed(name, encode(document) if optimised else text)


def function_result(text: str) -> Payload:
    """What a function ARN's task results in: the function's text, kept as the function printed it."""
    try:
        return Payload.parse(text)
    except JsonError as error:
        # A function may answer any bytes; what Step Functions says to that is not recorded [U].
        raise TaskFailed("Lambda.Unknown", f"The function's answer is {error}") from error


def invoke_result(
    text: str,
    *,
    status: int,
    headers: Mapping[str, str],
    request_id: str,
    executed_version: str | None,
    log_result: str | None = None,
) -> Payload:
    """What `lambda:invoke` results in, members in AWS's order: alphabetical, but for AllHttpHeaders [A].

    text: the function's answer; one that is not JSON stays a text, and that of an Event is "" [U].
    headers: as `http_headers` orders and spells them.
    """
    result: JsonObject = {}
    if executed_version is not None:
        result["ExecutedVersion"] = executed_version
    if log_result is not None:
        result["LogResult"] = log_result
    try:
        result["Payload"] = decode(text) if text else ""
    except JsonError:
        result["Payload"] = text
    result["SdkHttpMetadata"] = {
        "AllHttpHeaders": {name: [value] for name, value in headers.items()},
        "HttpHeaders": {name: headers[name] for name in sorted(headers, key=str.lower)},
        "HttpStatusCode": status,
    }
    result["SdkResponseMetadata"] = {"RequestId": request_id}
    result["StatusCode"] = status
    return Payload(result)


# Spelling and order of the headers in AllHttpHeaders [A]; a hash map's order, so it is only ever this one.
_HEADERS: Final = (
    "X-Amz-Executed-Version",
    "x-amzn-Remapped-Content-Length",
    "X-Amz-Function-Error",
    "X-Amz-Log-Result",
    "Connection",
    "x-amzn-RequestId",
    "Content-Length",
    "Date",
    "X-Amzn-Trace-Id",
    "Content-Type",
)
_SPELLED: Final = {name.lower(): name for name in _HEADERS}


def http_headers(received: Mapping[str, str]) -> dict[str, str]:
    """Headers of lower-case names, spelled and ordered as AllHttpHeaders shows them; unknown ones last."""
    ordered = {name: received[key] for key, name in _SPELLED.items() if key in received}
    others = {key.title(): value for key, value in received.items() if key not in _SPELLED}
    return ordered | others


def tail(lines: str) -> str:
    """LogResult for these log lines: the last 4 KiB in base64."""
    return base64.b64encode(lines.encode()[-4096:]).decode()


# The exceptions of Lambda's Invoke operation [M]; any other code is the service's own class.
MODELLED: Final = frozenset(
    {
        "CodeArtifactUserDeletedException",
        "CodeArtifactUserFailedException",
        "CodeArtifactUserPendingException",
        "DurableExecutionAlreadyStartedException",
        "EC2AccessDeniedException",
        "EC2ThrottledException",
        "EC2UnexpectedException",
        "EFSIOException",
        "EFSMountConnectivityException",
        "EFSMountFailureException",
        "EFSMountTimeoutException",
        "ENILimitReachedException",
        "ENINotReadyException",
        "InvalidParameterValueException",
        "InvalidRequestContentException",
        "InvalidRuntimeException",
        "InvalidSecurityGroupIDException",
        "InvalidSubnetIDException",
        "InvalidZipFileException",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
        "ModeNotSupportedException",
        "NoPublishedVersionException",
        "RecursiveInvocationException",
        "RequestTooLargeException",
        "ResourceConflictException",
        "ResourceNotFoundException",
        "ResourceNotReadyException",
        "S3FilesMountConnectivityException",
        "S3FilesMountFailureException",
        "S3FilesMountTimeoutException",
        "SerializedRequestEntityTooLargeException",
        "ServiceException",
        "ServiceQuotaExceededException",
        "SnapStartException",
        "SnapStartNotReadyException",
        "SnapStartRegenerationFailureException",
        "SnapStartTimeoutException",
        "SubnetIPAddressLimitReachedException",
        "TooManyRequestsException",
        "UnsupportedMediaTypeException",
    }
)
