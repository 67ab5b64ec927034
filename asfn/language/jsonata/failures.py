"""What can go wrong with an expression, in AWS's words: syntax, evaluation, result.

The engines raise EvaluationFailed; `expression.py` turns it into StateFailed with the sentence naming the field.
Texts are those of the reference implementation, which AWS prints ([A] T0410, T0412, T1006, D3086 and S02xx seen).
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY_LIMIT: Final = "Expression evaluation memory limit exceeded: Check for excessive memory usage"
TIME_LIMIT: Final = "Expression evaluation timeout: Check for infinite loop"
STACK_LIMIT: Final = (
    "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive"
)

ELEMENT_TYPES: Final = {
    "a": "arrays", "b": "booleans", "f": "functions", "n": "numbers", "o": "objects", "s": "strings"
}  # fmt: skip


class JsonataSyntaxError(ValueError):
    """An expression that cannot be compiled.

    code: the language's own, such as "S0201".   message: AWS's text, without the code.
    kind: AWS's diagnostic code, INVALID_JSONATA_EXPRESSION or UNSUPPORTED_JSONATA_EXPRESSION.
    """

    def __init__(self, code: str, message: str, kind: str = "INVALID_JSONATA_EXPRESSION") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.kind = kind


class EvaluationFailed(Exception):
    """An expression threw. `code` is None for a limit, whose text stands behind a colon in AWS's sentence.

    message: empty where the evaluator itself gave up, for want of a check.   Never leaves this package.
    """

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @property
    def sentence(self) -> str:
        """What AWS says the expression did ([A] all three forms; behind the first AWS puts an id)."""
        if not self.message and self.code is None:
            return "threw an internal error during evaluation."
        threw = "threw an error during evaluation"
        return f"{threw}: {self.message}" if self.code is None else f"{threw}. {self.code}: {self.message}"


class UnsupportedResult(Exception):
    """An expression gave a function, which is no JSON value. Never leaves this package."""


def render(code: str, details: Sequence[object]) -> str:
    """The text of a coded error with its values filled in as the reference does: JSON in `{{ }}`, raw in `{{{ }}}`."""
    template = _template(code)
    values = iter(details)

    def fill(match: re.Match[str]) -> str:
        value = next(values, None)
        if match.group(1) is not None:
            return str(value)
        return _shown(value)

    return re.sub(r"\{\{\{(\w+)\}\}\}|\{\{(\w+)\}\}", fill, template)


def has_placeholder(code: str) -> bool:
    """Whether the text of a code needs values that only the failing place knows."""
    return "{{" in _template(code)


def is_known(code: str) -> bool:
    """Whether a code has a text."""
    return code in _templates()


_CORRECTED: Final = {
    # The port at hand words or orders these otherwise than the reference.
    "D1001": "Number out of range: {{value}}",
    "D3137": "{{{message}}}",
    "D3141": "{{{message}}}",
    "T1006": "Attempted to invoke a non-function",
    "T1008": "Attempted to partially apply a non-function",
    "T0411": "Context value is not a compatible type with argument {{index}} of function {{token}}",
    "D3138": "The $single() function expected exactly 1 matching result.  Instead it matched more.",
    "D3139": "The $single() function expected exactly 1 matching result.  Instead it matched 0.",
}


def _templates() -> dict[str, str]:
    if not _TEMPLATES:
        from asfn.language.jsonata.port import JException

        for code, text in JException.error_codes.items():
            _TEMPLATES[code] = re.sub(r"\bObject\b", "function", text)
        _TEMPLATES.update(_CORRECTED)
    return _TEMPLATES


_TEMPLATES: Final[dict[str, str]] = {}


def _template(code: str) -> str:
    return _templates().get(code, "{{{message}}}")


def _shown(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return non_finite_name(value)  # the reference prints null here; [U] on AWS
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)


def non_finite_name(value: float) -> str:
    """How AWS writes a number that JSON cannot hold: a string ([A])."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
