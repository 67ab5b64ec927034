"""Every AWS quota that an execution can meet, as one named setting. `Limits.aws()` is the default profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """Quotas (asl.md section 9, api.md section 12). Sizes are UTF-8 bytes of JSON text, times are seconds.

    payload_bytes: input, state input, state output, task input and task result.
    retention_days: how long finished executions are kept, where their state machine says nothing else (section 12).
    data_limit_is_terminal: whether States.ALL misses a States.DataLimitExceeded that a task result raised: the
        documentation says so, the recording says otherwise, and we follow the recording (errors.md section 5).
    """

    payload_bytes: int = 262_144
    variable_bytes: int = 262_144
    variables_bytes: int = 10 * 1024 * 1024
    history_events: int = 25_000
    definition_characters: int = 1_048_576
    inline_concurrency: int = 40
    execution_seconds: float = 365 * 86_400
    express_seconds: float = 300
    wait_seconds: int = 2_147_483_647
    error_characters: int = 256
    cause_characters: int = 32_768
    retention_days: float = 90
    data_limit_is_terminal: bool = False

    @classmethod
    def aws(cls) -> Limits:
        """The quotas of AWS Step Functions."""
        return cls()

    @classmethod
    def relaxed(cls) -> Limits:
        """No data or history limits short of what a program can hold, for work that never goes to AWS."""
        return replace(
            cls(),
            payload_bytes=1 << 30,
            variable_bytes=1 << 30,
            variables_bytes=1 << 32,
            history_events=1 << 40,
            inline_concurrency=1 << 20,
        )

    @classmethod
    def named(cls, profile: Literal["aws", "relaxed"] | Limits) -> Limits:
        """The profile of this name, or the given limits as they are."""
        if isinstance(profile, Limits):
            return profile
        if profile not in ("aws", "relaxed"):
            raise ValueError(f"unknown limits profile {profile!r}: use 'aws', 'relaxed' or a Limits object")
        return cls.aws() if profile == "aws" else cls.relaxed()
