"""Task tokens: how they are made and told from other texts, and the calls of those who hold one.

AWS's SendTaskSuccess, SendTaskFailure and SendTaskHeartbeat (api.md section 13).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from asfn._json import JsonError, Payload, check_finite, encode
from asfn.errors import InvalidOutput, InvalidToken, TaskDoesNotExist, TaskTimedOut
from asfn.runtime.texts import check_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from asfn._json import Json
    from asfn.limits import Limits
    from asfn.runtime.inbox import Inbox
    from asfn.store.records import TokenRow

_BODY_BYTES: Final = 84
_MOMENT_BYTES: Final = 6
_CHECK_BYTES: Final = 12
_CHARACTERS: Final = (_BODY_BYTES + _CHECK_BYTES) // 3 * 4


def new_token(at: float = 0.0) -> str:
    """A new token: 128 characters that are safe in a URL. Never from a seeded source.

    at: about now; tokens of one time lie side by side in a database's index, which costs it much less (`ordered_uuid`).
    """
    moment = (int(at * 1000) & 0xFFFFFFFFFFFF).to_bytes(_MOMENT_BYTES)
    body = moment + secrets.token_bytes(_BODY_BYTES - _MOMENT_BYTES)
    return base64.urlsafe_b64encode(body + _check(body)).decode()


def is_token(text: str) -> bool:
    """Whether a text is a token that some engine has made; it may have been forgotten since."""
    if len(text) != _CHARACTERS or not text.isascii():
        return False
    try:
        token = base64.b64decode(text, altchars=b"-_", validate=True)
    except binascii.Error:
        return False
    return _check(token[:_BODY_BYTES]) == token[_BODY_BYTES:]


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=b"asfn-token").digest()


def success_outcome(output: Payload) -> str:
    """What a store keeps of an answer until its task takes it. The text of the output stays as it is."""
    return encode(["success", output.text])


def failure_outcome(error: str | None, cause: str | None) -> str:
    """As `success_outcome`; None for what the sender has left out."""
    return encode(["failure", error, cause])


def read_outcome(text: str) -> tuple[str, list[str | None]]:
    """The kind of an outcome ("success", "failure", "timeout", "heartbeat") and what belongs to it."""
    kind, *rest = msgspec.json.decode(text)
    return kind, rest


class TaskTokens:
    """Answers tasks that wait for a token: `.waitForTaskToken`, `.sync` jobs that were given theirs, activities.

    A method that returns has made its answer durable; from then on no other counts. Every method raises InvalidToken
    for a text that is no token, TaskDoesNotExist for the token of a task that the database does not know any more,
    TaskTimedOut when the task has ended, timed out or gone another way, and EngineClosed outside `async with`.
    """

    def __init__(self, inbox: Callable[[], Inbox], limits: Limits) -> None:
        self._inbox = inbox
        self._limits = limits

    async def succeed(self, token: str, output: Json = None, *, output_text: str | None = None) -> None:
        """End a task well. output: its result, a JSON value.   output_text: the result as JSON text, kept as written.

        Raises InvalidOutput for what is not JSON, or larger than the limit.
        """
        if output_text is not None and output is not None:
            raise TypeError("give output or output_text, not both")
        await self._settle(token, success_outcome(self._output(output, output_text)))

    async def fail(self, token: str, error: str | None = None, cause: str | None = None) -> None:
        """End a task badly: Retry and Catch see this error name and cause, or none at all.

        Raises InvalidParameter for texts over AWS's lengths, 256 and 32,768 characters, or that are not Unicode.
        """
        for name, text, longest in (
            ("error", error, self._limits.error_characters),
            ("cause", cause, self._limits.cause_characters),
        ):
            check_text(text, name, longest)
        await self._settle(token, failure_outcome(error, cause))

    async def heartbeat(self, token: str) -> None:
        """Tell that the work is alive: HeartbeatSeconds begins again. It leaves no event [A]."""
        inbox = self._inbox()
        _check_token(token)
        is_open, row = await inbox.beat(token)
        if not is_open:
            raise _refusal(row)

    async def _settle(self, token: str, outcome: str) -> None:
        inbox = self._inbox()
        _check_token(token)
        ended, row = await inbox.settle(token, outcome)
        if not ended:
            raise _refusal(row)

    def _output(self, value: Json, text: str | None) -> Payload:
        try:
            if text is None:
                check_finite(value)
                payload = Payload(value)
            else:
                payload = Payload.parse(text)
            size = payload.size_bytes
        except (JsonError, UnicodeError) as error:
            raise InvalidOutput(f"Invalid Output: '{error}'") from error
        if size > self._limits.payload_bytes:
            raise InvalidOutput(
                f"Invalid Output: the output has {size} bytes, the limit is {self._limits.payload_bytes}"
            )
        return payload


def _check_token(token: str) -> None:
    if not is_token(token):
        raise InvalidToken("Invalid Token: 'Invalid token'")


def _refusal(row: TokenRow | None) -> TaskDoesNotExist | TaskTimedOut:
    """AWS's error for a token that is not open. The first text is a guess [U], the second users report [R]."""
    if row is None:
        return TaskDoesNotExist("Task Does Not Exist: 'Provided task does not exist'")
    return TaskTimedOut("Task Timed Out: 'Provided task does not exist anymore'")
