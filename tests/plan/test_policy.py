"""Retry and Catch as pure decisions."""

from __future__ import annotations

import pytest

from asfn.language.model import Retrier
from asfn.plan.effects import Failure
from asfn.plan.policy import choose_retrier, matches, retry_delay


@pytest.mark.parametrize(
    ("patterns", "failure", "expected"),
    [
        (["Card.Declined"], Failure("Card.Declined", None), True),
        (["card.declined"], Failure("Card.Declined", None), False),
        (["States.ALL"], Failure("Anything", None), True),
        (["States.ALL"], Failure(None, None), True),
        (["State.ALL"], Failure("Anything", None), False),
        (["States.TaskFailed"], Failure("Anything", None), True),
        (["States.TaskFailed"], Failure("States.Timeout", None, "timeout"), False),
        (["States.Timeout"], Failure("States.Timeout", None, "heartbeat"), True),
        (["States.HeartbeatTimeout"], Failure("States.Timeout", None, "heartbeat"), True),
        (["States.HeartbeatTimeout"], Failure("States.Timeout", None, "timeout"), False),
        (["States.ALL", "States.Runtime"], Failure("States.Runtime", "x", "runtime"), False),
        (["States.DataLimitExceeded"], Failure("States.DataLimitExceeded", "x", "task"), True),
        (["States.DataLimitExceeded"], Failure("States.DataLimitExceeded", "x", "limit"), False),
        (["States.QueryEvaluationError"], Failure("States.QueryEvaluationError", "x", "evaluation"), True),
        (["A", "B"], Failure("B", None), True),
        ([], Failure("B", None), False),
    ],
)
def test_error_equals_matches_as_aws_does(patterns: list[str], failure: Failure, expected: bool) -> None:
    assert matches(patterns, failure) is expected


def test_the_delay_grows_by_the_backoff_rate() -> None:
    retrier = Retrier(("States.ALL",), interval_seconds=2, backoff_rate=3.0)
    assert [retry_delay(retrier, attempt, 0.0) for attempt in (1, 2, 3)] == [2, 6, 18]


def test_the_delay_is_cut_at_max_delay_before_jitter() -> None:
    retrier = Retrier(("States.ALL",), interval_seconds=10, max_delay_seconds=15, full_jitter=True)
    assert retry_delay(retrier, 5, 0.5) == 7.5


def test_a_huge_backoff_neither_overflows_nor_ends() -> None:
    retrier = Retrier(("States.ALL",), interval_seconds=99_999_999, backoff_rate=1e300, max_attempts=99_999_999)
    assert retry_delay(retrier, 99_999, 0.0) == 99_999_999


def test_an_interval_of_zero_never_grows() -> None:
    retrier = Retrier(("States.ALL",), interval_seconds=0, backoff_rate=1e300)
    assert [retry_delay(retrier, attempt, 0.0) for attempt in (1, 2, 3)] == [0, 0, 0]


def test_the_first_matching_retrier_alone_decides() -> None:
    retriers = [Retrier(("A",), max_attempts=1), Retrier(("States.ALL",), max_attempts=5)]
    assert choose_retrier(retriers, Failure("A", None), {}) == (0, retriers[0])
    assert choose_retrier(retriers, Failure("A", None), {0: 1}) is None
    assert choose_retrier(retriers, Failure("B", None), {0: 1}) == (1, retriers[1])


def test_zero_attempts_never_retry() -> None:
    assert choose_retrier([Retrier(("States.ALL",), max_attempts=0)], Failure("A", None), {}) is None


@pytest.mark.parametrize(
    ("failure", "output"),
    [
        (Failure("E", "c"), {"Error": "E", "Cause": "c"}),
        (Failure("States.Timeout", None, "timeout"), {"Error": "States.Timeout", "Cause": ""}),
        (Failure(None, None), {"Error": None, "Cause": None}),
        (Failure(None, None, "fail"), {"Error": "", "Cause": ""}),
    ],
)
def test_missing_parts_of_an_error_output_depend_on_its_source(failure: Failure, output: object) -> None:
    assert failure.error_output() == output


def test_a_failure_holds_only_text_that_a_history_can_keep() -> None:
    failure = Failure("Bad\ud800Name", "\ude00 and \U0001f600")
    assert failure.error_output() == {"Error": "Bad?Name", "Cause": "? and \U0001f600"}
    assert Failure(None, None).error is None
