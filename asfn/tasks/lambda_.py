"""Real AWS Lambda as the handler of Tasks, through aiobotocore: function ARNs and `lambda:invoke`.

One client per region and role, made once and kept until `aclose`. asfn's Retry decides about retries, so
botocore makes none; Step Functions' error names and texts come from `invocation.py`. aiobotocore is imported
on first use, in a
thread: it takes a second.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Final

from asfn._json import Payload
from asfn.errors import TaskFailed
from asfn.tasks.invocation import (
    FunctionReference,
    Invocation,
    client_error,
    function_error,
    function_result,
    http_headers,
    invoke_result,
    read_invocation,
    service_error,
)
from asfn.tasks.protocol import Done
from asfn.tasks.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import ModuleType

    from asfn._json import Json
    from asfn.tasks.protocol import Answer, TaskCall
    from asfn.tasks.registry import OnResume

_LOG: Final = logging.getLogger("asfn.tasks")
DEFAULT_REGION: Final = "us-east-1"
_KEEPALIVE_IDLE_SECONDS: Final = 60


class LambdaHandler:
    """Invokes functions in AWS Lambda, or in whatever speaks its protocol at `endpoint_url`.

    region: of functions given by name alone; without it the one of AWS's own configuration
        (AWS_DEFAULT_REGION, the profile), else the execution's. A function's ARN says its region itself.
    endpoint_url: instead of AWS's own; AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_LAMBDA hold as everywhere.
    access_key_id, secret_access_key, session_token, profile: credentials; without, found the usual AWS ways.
    session: an aiobotocore session to use instead of a new one.
    max_concurrency: calls at most at once; further ones wait, by their executions' priority, then in order.
    read_timeout_seconds: longer than Lambda's 15 minutes; TimeoutSeconds of the Task ends a call before that.
    on_resume: whether a call that a crash interrupted is made again ("run") or fails its Task ("fail").
    """

    def __init__(
        self,
        region: str | None = None,
        endpoint_url: str | None = None,
        *,
        max_concurrency: int = 500,
        session: Any = None,  # Any: aiobotocore has no types, and is imported on use
        profile: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        connect_timeout_seconds: float = 10,
        read_timeout_seconds: float = 930,
        off_loop: Callable[[], AbstractContextManager[None]] = nullcontext,
        on_resume: OnResume = "run",
    ) -> None:
        if on_resume not in ("run", "fail"):
            raise ValueError(f"on_resume is {on_resume!r}: use 'run' or 'fail'")
        self.on_resume: OnResume = on_resume
        self._region = region
        self._endpoint_url = endpoint_url
        self._max_concurrency = max_concurrency
        self._given_session = session
        self._profile = profile
        self._credentials = {
            "aws_access_key_id": access_key_id,
            "aws_secret_access_key": secret_access_key,
            "aws_session_token": session_token,
        }
        self._connect_timeout_seconds = connect_timeout_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._off_loop = off_loop
        self._reset()

    def _reset(self) -> None:
        self._slots = Slots(self._max_concurrency)
        self._session: Any = None  # Any: see __init__; so for the clients
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._resources = AsyncExitStack()
        self._opening = asyncio.Lock()

    async def open(self, region: str | None = None) -> None:
        """Make the client of a region before the first call needs it. Raises TaskFailed."""
        with self._off_loop():
            try:
                await self._client(region or self._region or DEFAULT_REGION, None)
            except Exception as error:
                if (told := _told(error, None)) is None:
                    raise
                raise told from error

    def dismiss(self) -> None:
        """The engine is being left: calls that wait for their turn are not made; they end with EngineClosed."""
        self._slots.close()

    async def aclose(self) -> None:
        """Close every client and its connections. The handler may be used again afterwards, also on another
        loop.
        """
        resources = self._resources
        self._reset()
        await resources.aclose()

    async def submit(self, call: TaskCall) -> Answer:
        """Invoke the function and wait for its answer. Raises TaskFailed with the names of errors.md section
        2.
        """
        invocation = read_invocation(call)
        slots = self._slots
        await slots.acquire(call.priority)
        try:
            return await self._submit(call, invocation)
        finally:
            slots.release()

    async def _submit(self, call: TaskCall, invocation: Invocation) -> Answer:
        with self._off_loop():
            try:
                client = await self._client_of(invocation.function, call)
                response, text = await _invoke(client, invocation)
            except Exception as error:
                if (told := _told(error, call)) is None:
                    raise
                raise told from error
        if response.get("FunctionError"):
            raise function_error(text, optimised=invocation.optimised)
        return Done(_result(response, text) if invocation.optimised else function_result(text))

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """Never called: an invocation is over when `submit` is."""
        raise NotImplementedError("Lambda submits no jobs")

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """Never called: Lambda cannot be told to stop; it runs on unseen, as on AWS."""

    async def _client_of(self, function: FunctionReference, call: TaskCall) -> Any:
        """The client that reaches a function."""
        region = _named_region(call) or self._region
        if region is None:
            session = await self._base_session()
            region = session.get_config_variable("region") or function.region or DEFAULT_REGION
        return await self._client(region, call.role_arn)

    async def _client(self, region: str, role_arn: str | None) -> Any:
        """The one client of a region and role; whoever comes first makes it, the others wait."""
        key = (region, role_arn)
        if key not in self._clients:
            async with self._opening:
                if key not in self._clients:
                    self._clients[key] = await self._make_client(region, role_arn)
        return self._clients[key]

    async def _make_client(self, region: str, role_arn: str | None) -> Any:
        session = await self._base_session()
        credentials = self._credentials
        if role_arn is not None:
            session = await self._role_session(session, region, role_arn)
            credentials = {}
        return await self._resources.enter_async_context(
            session.create_client(
                "lambda",
                region_name=region,
                endpoint_url=self._endpoint_url,
                config=self._config(),
                **credentials,
            )
        )

    async def _base_session(self) -> Any:
        if self._session is None:
            aiobotocore = await asyncio.to_thread(_load)
            if self._session is None:  # nobody was faster
                self._session = self._given_session or aiobotocore.session.AioSession(profile=self._profile)
        return self._session

    async def _role_session(self, session: Any, region: str, role_arn: str) -> Any:
        """A session whose credentials are those of the assumed role, renewed before they expire."""
        aiobotocore = await asyncio.to_thread(_load)
        sts = await self._resources.enter_async_context(
            session.create_client("sts", region_name=region, config=self._config(), **self._credentials)
        )

        async def assume() -> dict[str, str]:
            answer = await sts.assume_role(RoleArn=role_arn, RoleSessionName="asfn")
            given = answer["Credentials"]
            return {
                "access_key": given["AccessKeyId"],
                "secret_key": given["SecretAccessKey"],
                "token": given["SessionToken"],
                "expiry_time": given["Expiration"].isoformat(),
            }

        credentials = aiobotocore.credentials.AioRefreshableCredentials.create_from_metadata(
            metadata=await assume(), refresh_using=assume, method="sts-assume-role"
        )
        assumed = aiobotocore.session.AioSession()
        assumed.register_component("credential_provider", _Fixed(credentials))
        return assumed

    def _config(self) -> Any:
        from aiobotocore.config import AioConfig

        return AioConfig(
            max_pool_connections=self._max_concurrency,
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=self._connect_timeout_seconds,
            read_timeout=self._read_timeout_seconds,
            # aiobotocore drops botocore's tcp_keepalive option; a quiet call of many minutes needs it behind
            # NAT.
            connector_args={"socket_factory": _keepalive_socket},
            warm_up_loader_caches=True,
        )


class _Fixed:
    """A credential provider of botocore's that has its answer already."""

    def __init__(self, credentials: Any) -> None:
        self._answer = credentials

    async def load_credentials(self) -> Any:
        return self._answer


def _named_region(call: TaskCall) -> str:
    """The region in the ARN that names a call's function; "" when it is named without one."""
    if call.resource.family == "lambda":
        return call.resource.region
    parameters = call.payload.value
    name = parameters.get("FunctionName") if isinstance(parameters, dict) else None
    function = FunctionReference.parse(name) if isinstance(name, str) else None
    return function.region if function is not None else ""


async def _invoke(client: Any, invocation: Invocation) -> tuple[Mapping[str, Any], str]:
    """Lambda's answer, and the text of its payload."""
    arguments: dict[str, str | bytes] = {"FunctionName": invocation.function_name}
    arguments |= invocation.parameters or {}
    if invocation.event is not None:
        arguments["Payload"] = invocation.event.encode()
    response = await client.invoke(**arguments)
    async with response["Payload"] as stream:
        body: bytes = await stream.read()
    return response, body.decode(errors="replace")


def _result(response: Mapping[str, Any], text: str) -> Payload:
    metadata = response["ResponseMetadata"]
    return invoke_result(
        text,
        status=response["StatusCode"],
        headers=http_headers(metadata["HTTPHeaders"]),
        request_id=metadata.get("RequestId", ""),
        executed_version=response.get("ExecutedVersion"),
        log_result=response.get("LogResult"),
    )


def _told(error: Exception, call: TaskCall | None) -> TaskFailed | None:
    """The failure that a request's error is to Step Functions; None for what is no request's error."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    if isinstance(error, ClientError):
        if error.operation_name == "AssumeRole":
            return _role_refused(error, call)
        return _service_error(error)
    if isinstance(error, NoCredentialsError):
        return client_error("Unable to load AWS credentials from any provider in the chain")
    if isinstance(error, BotoCoreError | OSError) or type(error).__module__.startswith("aiohttp."):
        return client_error(_client_message(error))
    return None


def _service_error(error: Any) -> TaskFailed:  # Any: botocore has no types
    told = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    return service_error(
        told.get("Code", ""),
        status,
        told.get("Message", ""),
        metadata.get("RequestId"),
        error="Lambda.TooManyRequestsException" if status == 429 else None,
    )


def _role_refused(error: Exception, call: TaskCall | None) -> TaskFailed:
    """The Task's role cannot be assumed (errors.md 3.3). asfn knows no role of the execution: the caller
    stands for it.
    """
    role = call.role_arn if call is not None else None
    _LOG.warning("role %s cannot be assumed: %s", role, error)
    parts = call.execution_arn.split(":") if call is not None else []
    account = parts[4] if len(parts) > 4 else ""
    own = f"arn:aws:iam::{account}:role/asfn"
    return TaskFailed("States.TaskFailed", f"The role {own} is not authorized to assume the task state's role, {role}.")


def _client_message(error: Exception) -> str:
    """What SDK v1 says of a request that got no answer (errors.md 3.4); all but the host that is not known
    are [U].
    """
    from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError

    inner = getattr(error, "kwargs", {}).get("error", error)
    reason = getattr(inner, "os_error", inner)
    host = getattr(inner, "host", None)
    if isinstance(reason, socket.gaierror):
        what = f"{host}: Name or service not known"
    elif isinstance(reason, ConnectionRefusedError):
        what = f"Connect to {host}:{getattr(inner, 'port', '')} failed: Connection refused (Connection refused)"
    elif isinstance(error, ConnectTimeoutError):
        what = f"Connect to {error.kwargs.get('endpoint_url')} failed: connect timed out"
    elif isinstance(error, ReadTimeoutError | TimeoutError):
        what = "Read timed out"
    elif isinstance(error, ConnectionClosedError):
        what = "The target server failed to respond"
    elif isinstance(reason, OSError):
        what = reason.strerror or str(reason)
    else:
        what = str(error)
    return f"Unable to execute HTTP request: {what}"


def _load() -> ModuleType:
    """aiobotocore, imported: about a second of work, which is why it runs in a thread."""
    import aiobotocore
    import aiobotocore.config
    import aiobotocore.credentials
    import aiobotocore.session

    return aiobotocore  # type: ignore[no-any-return]


def _keepalive_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket with TCP keep-alive, so that no router forgets a connection whose function works in silence.

    address: as getaddrinfo answers it: family, type, protocol, name, address.
    """
    family, kind, protocol = address[:3]
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
    return made
