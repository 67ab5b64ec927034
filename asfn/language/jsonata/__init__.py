"""JSONata as AWS has it: compile an expression or a template, evaluate it, say what AWS refuses.

`expression.py` is the way in, `seam.py` the contract of the engines, `rust.py` and `pure.py` the engines,
`syntax.py` the analysis, `plain.py` the fast lane, `dialect.py` the functions AWS adds. The engines load on use.
"""

from __future__ import annotations

from asfn.language.jsonata.checks import Problem, check_expression
from asfn.language.jsonata.expression import (
    Expression,
    compile_expression,
    engine,
    is_expression,
    type_name,
    unexpected_type,
)
from asfn.language.jsonata.failures import JsonataSyntaxError
from asfn.language.jsonata.seam import DEFAULT_LIMITS, Engine, EngineName, Limits
from asfn.language.jsonata.template import Value, compile_value

__all__ = [
    "DEFAULT_LIMITS",
    "Engine",
    "EngineName",
    "Expression",
    "JsonataSyntaxError",
    "Limits",
    "Problem",
    "Value",
    "check_expression",
    "compile_expression",
    "compile_value",
    "engine",
    "is_expression",
    "type_name",
    "unexpected_type",
]
