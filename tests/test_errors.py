"""Errors on their way to another process."""

from __future__ import annotations

import pickle

import pytest

from asfn.errors import AsfnError, DefinitionError, EngineFenced, ExecutionFailed, TaskFailed
from asfn.language.diagnostics import Diagnostic

FINDINGS = (Diagnostic("ERROR", "MISSING_NEXT", "no Next", "/States/A"), Diagnostic("WARNING", "UNUSED", "unused"))


@pytest.mark.parametrize(
    "error",
    [
        ExecutionFailed("FAILED", "Card.Declined", "issuer said no", "Pay"),
        ExecutionFailed("TIMED_OUT", None, None),
        DefinitionError(FINDINGS),
        EngineFenced("taken over"),
        TaskFailed("Card.Declined"),
    ],
    ids=repr,
)
def test_an_error_is_the_same_after_pickling(error: AsfnError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
