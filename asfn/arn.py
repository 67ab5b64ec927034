"""ARNs: the names of state machines, executions, activities and task resources (api.md section 2).

asfn answers for a region and an account of its own choosing, so that ARNs look like AWS's and the same definition
runs in both places.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from asfn.errors import InvalidArn, InvalidName

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_REGION: Final = "us-east-1"
DEFAULT_ACCOUNT: Final = "123456789012"

# api.md section 2: white space, brackets, wildcards, and the control and non-characters are refused.
_BAD_NAME: Final = re.compile(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff\U0010ffff]")
# Region and account are not looked at, as in language/resources.py [A].
_LAMBDA: Final = re.compile(
    r"arn:(?P<partition>aws[\w-]*):lambda:(?P<region>[^:\s]*):(?P<account>[^:\s]*):function:"
    r"(?P<name>[\w.$-]+)(?::(?P<qualifier>[\w.$-]+))?"
)

Pattern = Literal["", "sync", "sync:2", "waitForTaskToken"]
Family = Literal["lambda", "activity", "service"]


def new_uuid() -> str:
    """A random version 4 UUID in lower case, from the system's source; cheaper than the uuid module's object."""
    text = next(_random_texts, None) or _draw()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"


def ordered_uuid(at: float) -> str:
    """A UUID that sorts by its moment, otherwise random (RFC 9562, version 7). at: epoch seconds.

    For what a database keeps an index of: names that come one after the other lie side by side there, while random ones
    made an execution beside 500,000 others write three times as many bytes.
    """
    text = next(_random_texts, None) or _draw()
    moment = f"{int(at * 1000) & 0xFFFFFFFFFFFF:012x}"
    return f"{moment[:8]}-{moment[8:]}-7{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"


def _draw() -> str:
    """Ask the system for the next 64 UUIDs' randomness at once. Taking one from an iterator is one step for threads."""
    global _random_texts
    drawn = os.urandom(16 * 64).hex()
    texts = iter([drawn[at : at + 32] for at in range(0, len(drawn), 32)])
    first = next(texts)
    _random_texts = texts
    return first


def _forget_drawn() -> None:
    """A forked process is to draw its own."""
    global _random_texts
    _random_texts = iter([])


_random_texts: Iterator[str] = iter([])
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_drawn)


def check_name(name: str) -> str:
    """`name`, when it may name a state machine, an execution or an activity; else InvalidName with AWS's text."""
    if not 1 <= len(name) <= 80 or _BAD_NAME.search(name):
        raise InvalidName(f"Invalid Name: '{name.encode(errors='backslashreplace').decode()}'")
    return name


class Arns(Struct, frozen=True):
    """Builds the ARNs of one engine."""

    region: str = DEFAULT_REGION
    account: str = DEFAULT_ACCOUNT
    partition: str = "aws"

    def _states(self, rest: str) -> str:
        return f"arn:{self.partition}:states:{self.region}:{self.account}:{rest}"

    def state_machine(self, name: str) -> str:
        return self._states(f"stateMachine:{name}")

    def execution(self, machine: str, name: str) -> str:
        return self._states(f"execution:{machine}:{name}")

    def express(self, machine: str, name: str, unique: str) -> str:
        return self._states(f"express:{machine}:{name}:{unique}")

    def activity(self, name: str) -> str:
        return self._states(f"activity:{name}")

    def role(self) -> str:
        """The role an execution runs under where the caller named none: asfn checks no permissions."""
        return f"arn:{self.partition}:iam::{self.account}:role/asfn"


def name_of(arn: str) -> str:
    """The last part of an ARN: a machine's or an execution's name. Raises InvalidArn for a text that is none."""
    parts = arn.split(":")
    if len(parts) < 6 or parts[0] != "arn":
        raise InvalidArn(f"Invalid Arn: 'Invalid ARN prefix: {arn}'")
    return parts[7] if parts[2] == "states" and parts[5] == "express" and len(parts) > 7 else parts[-1]


class TaskResource(Struct, frozen=True):
    """A Task's Resource, taken apart (integrations.md section 1).

    family decides the history events: LambdaFunction*, Activity* or Task*.
    service, action: `lambda`/`invoke`, `aws-sdk:dynamodb`/`putItem`; of a function ARN `lambda` and its name.
    pattern: "", "sync", "sync:2" or "waitForTaskToken".
    """

    text: str
    family: Family
    service: str
    action: str
    pattern: Pattern = ""
    region: str = ""
    account: str = ""
    qualifier: str | None = None

    @property
    def resource_type(self) -> str:
        """`resourceType` of the Task* events."""
        return self.service

    @property
    def resource(self) -> str:
        """`resource` of the Task* events: the action with its suffix; for the other families the whole ARN."""
        if self.family != "service":
            return self.text
        return f"{self.action}.{self.pattern}" if self.pattern else self.action


@lru_cache(maxsize=4096)
def parse_task_resource(text: str) -> TaskResource:
    """Take a Resource text apart; raises InvalidArn when it has none of the forms AWS knows.

    That an optimised action exists is the validator's business, not checked here.
    """
    match = _LAMBDA.fullmatch(text)
    if match:
        return TaskResource(
            text,
            "lambda",
            "lambda",
            match["name"],
            region=match["region"],
            account=match["account"],
            qualifier=match["qualifier"],
        )
    parts = text.split(":")
    if len(parts) == 7 and parts[0] == "arn" and parts[2] == "states" and parts[5] == "activity" and parts[6]:
        return TaskResource(text, "activity", "activity", parts[6], region=parts[3], account=parts[4])
    if len(parts) < 7 or parts[0] != "arn" or parts[2] != "states":  # a region or account in it is but warned of
        raise InvalidArn(f"Invalid Arn: '{text}' is neither a Lambda function, an activity nor a service integration")
    service, rest = (f"aws-sdk:{parts[6]}", parts[7:]) if parts[5] == "aws-sdk" else (parts[5], parts[6:])
    action, _, suffix = ":".join(rest).partition(".")
    if not action or suffix not in ("", "sync", "sync:2", "waitForTaskToken"):
        raise InvalidArn(f"Invalid Arn: '{text}' names no action, or an unknown pattern {suffix!r}")
    return TaskResource(text, "service", service, action, suffix)  # type: ignore[arg-type]
