"""What the JSONata tests share: an environment, and short ways to evaluate and to fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from asfn.errors import StateFailed
from asfn.language.jsonata import compile_expression

ENGINES = ("rust", "pure")


@dataclass
class Surroundings:
    """An environment with variables, at a fixed time; it counts how often the context object was read."""

    variables: dict[str, Any] = field(default_factory=dict)
    now: float = 1_700_000_000.5
    context_reads: int = 0

    @property
    def context(self) -> Any:
        self.context_reads += 1
        return {"Execution": {"Name": "run-7"}}

    def variable(self, name: str) -> Any:
        return self.variables[name]

    def random(self) -> float:
        return 0.25

    def uuid(self) -> str:
        return "9a8b2c1d-0000-4000-8000-000000000000"


def evaluate(source: str, engine: Any, variables: dict[str, Any] | None = None, **states: Any) -> Any:
    """The value of an expression without its delimiters; `input` is {} unless given."""
    expression = compile_expression(f"{{% {source} %}}", "Output", engine=engine)
    return expression.evaluate(Surroundings(variables or {}), **({"input": {}} | states))


def failure(source: str, engine: Any, variables: dict[str, Any] | None = None, **states: Any) -> str:
    """The end of the cause of an expression that fails, behind the field's name."""
    with pytest.raises(StateFailed) as caught:
        evaluate(source, engine, variables, **states)
    assert caught.value.error == "States.QueryEvaluationError"
    assert caught.value.location == "Output"
    start = f"The JSONata expression '{source}' specified for the field 'Output' "
    assert caught.value.cause.startswith(start)
    return caught.value.cause.removeprefix(start)
