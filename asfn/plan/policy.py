"""Retry and Catch as pure decisions (asl.md 7.8 to 7.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asfn.language.model import Retrier
    from asfn.plan.effects import Failure


def matches(error_equals: Sequence[str], failure: Failure) -> bool:
    """Whether a retrier's or catcher's ErrorEquals takes this failure. Source: asl.md 7.10.

    Terminal failures match nothing, not even States.ALL. A failure without a name matches States.ALL only.
    """
    if failure.terminal:
        return False
    for pattern in error_equals:
        if pattern == "States.ALL" or pattern == failure.error:
            return True
        if pattern == "States.TaskFailed":
            # [D] every error but a timeout; [U] a failure without a name counts too: it is a task's.
            if failure.kind not in ("timeout", "heartbeat") and failure.error != "States.Timeout":
                return True
        elif pattern == "States.HeartbeatTimeout" and failure.kind == "heartbeat":
            return True
    return False


def retry_delay(retrier: Retrier, attempt: int, draw: float) -> float:
    """Seconds to wait before running a failed state again.

    attempt: 1 for the first retry.   draw: uniform in [0, 1), used only with JitterStrategy FULL.
    The delay grows by BackoffRate and is cut at MaxDelaySeconds before jitter is applied.
    Source: asl.md 7.8; order of cap and jitter [U].
    """
    cap = retrier.max_delay_seconds if retrier.max_delay_seconds is not None else 99_999_999
    try:
        delay = min(retrier.interval_seconds * retrier.backoff_rate ** (attempt - 1), float(cap))
    except OverflowError:
        delay = float(cap if retrier.interval_seconds else 0)
    return delay * draw if retrier.full_jitter else delay


def choose_retrier(
    retriers: Sequence[Retrier], failure: Failure, used: Mapping[int, int]
) -> tuple[int, Retrier] | None:
    """The first retrier that matches, when it has attempts left; later ones are never consulted. Source: asl.md 7.8."""
    for index, retrier in enumerate(retriers):
        if matches(retrier.error_equals, failure):
            return (index, retrier) if used.get(index, 0) < retrier.max_attempts else None
    return None
