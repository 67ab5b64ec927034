"""Task states: what Resource names, timeouts, credentials, parameters (integrations.md 1 and 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asfn.language.resources import (
    REQUIRED_PARAMETERS,
    Resource,
    is_offered,
    known_integrations,
    parse_resource,
)
from asfn.language.sdk_services import SDK_SERVICES
from asfn.language.validation import jsonata, values
from asfn.language.validation.paths import check_template

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.document import Tokens
    from asfn.language.validation.scope import StateScope

_TOKEN_TEXTS: Final = ("$$.Task.Token", "$$['Task']", "$$.Task", "$states.context")


def check_resource(state: StateScope, path: Tokens, value: Json) -> None:
    """The Resource of a Task: an ARN that a Task can call, in the way the type of machine allows."""
    findings = state.findings
    if not values.is_text(value, findings, path):
        return
    resource = parse_resource(value)
    if resource is None or not is_offered(resource):
        _refuse(state, path, value, resource)
        return
    if state.definition.type == "EXPRESS":
        _check_express(state, path, resource)
    if resource.kind in ("optimised", "sdk") and (resource.region or resource.account):
        # [U] the documented form leaves both empty, and published definitions that run have them filled.
        message = "The ARN of a service integration has neither region nor account: arn:aws:states:::service:action"
        findings.warning(path, message, code="REGION_IN_INTEGRATION")


def _refuse(state: StateScope, path: Tokens, text: str, resource: Resource | None) -> None:
    if not text.startswith("arn:"):
        hint = "Put in the ARN for the placeholder first." if "${" in text else None
        state.findings.error(path, "Value is not a valid resource ARN", suggestion=hint)
        return
    hint = None
    if resource is not None and resource.kind == "sdk":
        service = state.findings.hint(resource.service, SDK_SERVICES)
        hint = service if resource.service.lower() not in SDK_SERVICES else "aws-sdk integrations have no '.sync'."
    elif resource is not None:
        action = f"{resource.service}:{resource.action}" + (f".{resource.pattern}" if resource.pattern else "")
        hint = state.findings.hint(action, known_integrations())
    elif "${" in text:
        hint = "Put in the value for the placeholder first."
    message = (
        f"The resource provided {text} is not recognized. The value is not a valid resource ARN, "
        "or the resource is not available in this region."
    )
    state.findings.error(path, message, suggestion=hint)


def _check_express(state: StateScope, path: Tokens, resource: Resource) -> None:
    message = None
    if resource.kind == "activity":
        message = "Express state machine does not support Activity ARN"
    elif resource.pattern.startswith("sync"):
        message = "Express state machine does not support '.sync' service integration"
    elif resource.pattern == "waitForTaskToken":  # [A] with a blank at its end
        message = "Express state machine does not support '.waitForTaskToken' service integration "
    if message is not None:
        state.findings.error(path, message)


def check_credentials(state: StateScope, path: Tokens, value: Json) -> None:
    """Credentials: an object with RoleArn (or RoleArn.$), or in JSONata an expression."""
    findings = state.findings
    if state.jsonata and isinstance(value, str) and value.startswith("{%"):
        jsonata.check_text(state, path, value)
        return
    if not values.is_object(value, findings, path):
        return
    if "RoleArn" not in value and (state.jsonata or "RoleArn.$" not in value):
        findings.error(path, "The field 'RoleArn' is required but was missing")
    elif "RoleArn" in value:
        values.is_text(value["RoleArn"], findings, (*path, "RoleArn"))
    if state.jsonata:
        jsonata.check_value(state, path, value)
    else:
        check_template(state, path, value)


def check_task(state: StateScope) -> None:
    """What the fields of a Task say together."""
    fields = state.fields
    findings = state.findings
    values.at_most_one(findings, state.path, fields, ("TimeoutSeconds", "TimeoutSecondsPath"))
    values.at_most_one(findings, state.path, fields, ("HeartbeatSeconds", "HeartbeatSecondsPath"))
    timeout, heartbeat = fields.get("TimeoutSeconds"), fields.get("HeartbeatSeconds")
    if _is_number(timeout) and _is_number(heartbeat) and heartbeat >= timeout:  # type: ignore[operator]
        message = "HeartbeatSeconds must be smaller than TimeoutSeconds"  # [U] AWS's words
        findings.error(state.path, message, field="HeartbeatSeconds")
    text = fields.get("Resource")
    resource = parse_resource(text) if isinstance(text, str) else None
    if resource is None or not is_offered(resource):
        return
    if resource.kind == "activity" and "Credentials" in fields:
        message = "The field 'Credentials' is not supported for activities"  # [R]
        findings.error(state.path, message, field="Credentials")
    _hint_parameters(state, resource)
    _hint_callback(state, resource)


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _hint_parameters(state: StateScope, resource: Resource) -> None:
    """Warn of parameters that the called action cannot do without [R]. What an expression gives is unknown."""
    if resource.kind not in ("optimised", "sdk"):
        return
    name = "Arguments" if state.jsonata else "Parameters"
    parameters = state.fields.get(name)
    needed = (
        REQUIRED_PARAMETERS.get(f"{resource.service}:{resource.action}", ()) if resource.kind == "optimised" else ()
    )
    if name not in state.fields:
        message = f"{name} field is required for resource ARN: {resource.text}"
        state.findings.error((*state.path, "Resource"), message)  # [A] measured elsewhere (cdk-preflight, Sep 2026)
    elif isinstance(parameters, dict):
        for key in needed:
            if key not in parameters and f"{key}.$" not in parameters:
                message = f"The field '{key}' is required but was missing"
                state.findings.warning((*state.path, name), message, code="MISSING_PARAMETERS")


def _hint_callback(state: StateScope, resource: Resource) -> None:
    """Warn of a callback that can wait for ever: no token goes out, or no timeout ends it."""
    fields = state.fields
    waits = resource.pattern == "waitForTaskToken"
    if waits:
        payload = fields.get("Arguments" if state.jsonata else "Parameters")
        if not _mentions_token(payload):
            message = "The task waits for a token, but no parameter carries it (Task.Token of the context object)"
            state.findings.warning(state.path, message, code="MISSING_TASK_TOKEN")
    limits = ("TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds", "HeartbeatSecondsPath")
    if (waits or resource.kind == "activity") and not any(name in fields for name in limits):
        message = "The task waits for an answer from outside without TimeoutSeconds or HeartbeatSeconds"
        state.findings.warning(state.path, message, code="MISSING_TIMEOUT")


def _mentions_token(value: Json) -> bool:
    if isinstance(value, str):
        whole = value == "$$" or (value.startswith("{%") and "$states" in value and "$states." not in value)
        return whole or any(text in value for text in _TOKEN_TEXTS)
    if isinstance(value, dict):
        return any(_mentions_token(member) for member in value.values())
    return isinstance(value, list) and any(_mentions_token(member) for member in value)
