"""A stand-in for AWS Lambda on loopback: real HTTP, Lambda's Invoke protocol, one script of replies per
function.

    async with LambdaServer() as server:
        server.function("charge-card", throttled(), returns({"receipt": 7}))
        client = session.create_client("lambda", endpoint_url=server.url, ...)

Each invocation takes the function's next reply; the last one repeats. The server counts what it sees:
requests, connections, and how many invocations were open at once. Signatures are not checked. It also answers
STS AssumeRole.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

_INVOKE = re.compile(r"/2015-03-31/functions/(?P<function>[^/]+)/invocations")
_FUNCTION = re.compile(
    r"(?:arn:aws[a-z-]*:lambda:)?(?:[a-z]{2}(?:-[a-z]+)+-\d:)?(?:\d{12}:)?(?:function:)?(?P<name>[\w.-]+)(?::(?P<qualifier>[\w$-]+))?"
)
_ACCOUNT = "111111111111"
_REGION = "us-east-1"


@dataclass(frozen=True)
class Reply:
    """One answer of a function or of the service. `drop` cuts the connection: before the headers, or amid the
    body.

    echo: the body is the request's own payload.   gate: waited for before the answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0
    gate: asyncio.Event | None = None
    drop: str | None = None
    echo: bool = False

    def after(self, seconds: float) -> Reply:
        """The same, `seconds` later."""
        return replace(self, delay_seconds=seconds)

    def held_by(self, gate: asyncio.Event) -> Reply:
        """The same, once the gate is set."""
        return replace(self, gate=gate)


def returns(value: object) -> Reply:
    """The function returns this value, printed as Lambda's runtime for Python prints it."""
    return text(json.dumps(value))


def text(body: str) -> Reply:
    """The function answers exactly this text."""
    return Reply(body=body.encode())


def echoes() -> Reply:
    """The function returns its event, `{}` where it was sent none."""
    return Reply(echo=True)


def raises(error_type: str | None, message: str, **more: object) -> Reply:
    """The function fails with this error payload; without a type it has no errorType member."""
    document = {"errorMessage": message, "errorType": error_type, **more}
    body = {key: value for key, value in document.items() if value is not None}
    return Reply(body=json.dumps(body).encode(), headers={"X-Amz-Function-Error": "Unhandled"})


def refuses(status: int, code: str, message: str) -> Reply:
    """The service answers an error instead of invoking."""
    body = json.dumps({"Type": "User" if status < 500 else "Service", "message": message}).encode()
    return Reply(status=status, body=body, headers={"x-amzn-ErrorType": code})


def throttled() -> Reply:
    """The service refuses the call for its rate."""
    return refuses(429, "TooManyRequestsException", "Rate Exceeded.")


def breaks_down() -> Reply:
    """The service fails by its own fault."""
    return refuses(500, "ServiceException", "The service encountered an internal error.")


def drops_connection(*, amid_body: bool = False) -> Reply:
    """The connection ends before the answer, or amid its body."""
    return Reply(body=b'{"cut": "off"}', drop="body" if amid_body else "headers")


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came. headers: lower-case names.   query: first value of each."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """The payload as JSON; None when there was none."""
        return json.loads(self.body) if self.body else None


class LambdaServer:
    """Listens on a free port of 127.0.0.1 while it is entered.

    requests: all of them, in order.   connections: accepted so far.   open_now, peak: invocations not yet
        answered, and the most at once.   access_keys: those the invocations were signed
        with.   refused_roles: AssumeRole refuses these.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.open_now = 0
        self.peak = 0
        self.access_keys: list[str] = []
        self.refused_roles: set[str] = set()
        self.url = ""
        self._scripts: dict[str, list[Reply]] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()

    def function(self, name: str, *replies: Reply) -> None:
        """Define a function by its script; one without replies returns its event."""
        self._scripts[name] = list(replies) or [echoes()]

    def invocations(self, name: str) -> list[Request]:
        """The invocations of a function, whichever way it was named."""
        return [request for request in self.requests if _named(request.path)[0] == name]

    async def wait_open(self, count: int) -> None:
        """Wait until so many invocations are open at once."""
        while self.open_now < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until the client leaves."""
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await self._answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Write the answer; False when the connection is to end."""
        name, qualifier = _named(request.path)
        if not name:
            await _write(writer, self._assume_role(request), {})
            return True
        self.access_keys.append(_access_key(request))
        self.open_now += 1
        self.peak = max(self.peak, self.open_now)
        self._arrived.set()
        try:
            reply = self._next(name, qualifier or request.query.get("Qualifier"))
            kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
            if reply.status == 200 and kind != "RequestResponse":
                reply = Reply(status={"Event": 202, "DryRun": 204}[kind])
            if reply.echo:
                reply = replace(reply, body=request.body or b"{}")
            await asyncio.sleep(reply.delay_seconds)
            if reply.gate is not None:
                await reply.gate.wait()
            if reply.drop == "headers":
                return False
            await _write(writer, reply, _lambda_headers(request, reply, qualifier), cut=reply.drop == "body")
            return reply.drop is None
        finally:
            self.open_now -= 1

    def _next(self, name: str, qualifier: str | None) -> Reply:
        script = self._scripts.get(name)
        if script is None:
            arn = f"arn:aws:lambda:{_REGION}:{_ACCOUNT}:function:{name}:{qualifier or '$LATEST'}"
            return refuses(404, "ResourceNotFoundException", f"Function not found: {arn}")
        return script.pop(0) if len(script) > 1 else script[0]

    def _assume_role(self, request: Request) -> Reply:
        form = {key: values[0] for key, values in parse_qs(request.body.decode()).items()}
        role = form.get("RoleArn", "")
        if form.get("Action") != "AssumeRole":
            return Reply(404, b"not found")
        if role in self.refused_roles:
            body = (
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>"
                f"not authorized to perform: sts:AssumeRole on resource: {role}</Message></Error></ErrorResponse>"
            )
            return Reply(403, body.encode(), {"Content-Type": "text/xml"})
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>ASSUMED{role.rpartition('/')[2].upper()}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>t</SessionToken><Expiration>{until}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )
        return Reply(200, body.encode(), {"Content-Type": "text/xml"})


def _named(path: str) -> tuple[str, str | None]:
    """The function's name and qualifier in an Invoke path; "" for another path."""
    match = _INVOKE.fullmatch(path)
    named = _FUNCTION.fullmatch(unquote(match["function"])) if match else None
    return (named["name"], named["qualifier"]) if named else ("", None)


def _access_key(request: Request) -> str:
    signed = re.search(r"Credential=([^/]+)/", request.headers.get("authorization", ""))
    return signed[1] if signed else ""


def _lambda_headers(request: Request, reply: Reply, qualifier: str | None) -> dict[str, str]:
    headers = {
        "Date": formatdate(usegmt=True),
        "Content-Type": "application/json",
        "Connection": "keep-alive",
        "x-amzn-RequestId": str(uuid.uuid4()),
        "X-Amzn-Trace-Id": "Root=1-65f00000-000000000000000000000000;Sampled=0",
    }
    if reply.status == 200:
        headers |= {"x-amzn-Remapped-Content-Length": "0", "X-Amz-Executed-Version": qualifier or "$LATEST"}
        if request.headers.get("x-amz-log-type") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(b"START\nEND\n").decode()
    return headers


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    url = urlsplit(target)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    return Request(method, url.path, query, headers, body)


async def _write(writer: asyncio.StreamWriter, reply: Reply, headers: dict[str, str], *, cut: bool = False) -> None:
    lines = {**headers, **reply.headers, "Content-Length": str(len(reply.body))}
    head = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(head.encode("latin-1") + b"\r\n" + (reply.body[: len(reply.body) // 2] if cut else reply.body))
    await writer.drain()
