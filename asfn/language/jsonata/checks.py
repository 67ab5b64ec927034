"""What AWS refuses of an expression that parses, for the validator (api.md section 8)."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asfn.language.jsonata.expression import Expression

UNSUPPORTED: Final = "UNSUPPORTED_JSONATA_EXPRESSION"


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding: AWS's diagnostic code and sentence, without the place."""

    code: str
    message: str


def check_expression(expression: Expression, *, allowed: Set[str]) -> tuple[Problem, ...]:
    """What AWS refuses about an expression at create time; one finding per distinct reference, in order.

    allowed: the members of `$states` that exist in this field, such as {"input", "context", "result"}. A member
    that does not is refused by name ([A] for errorOutput; for unknown names [U]).
    """
    problems = [
        Problem(UNSUPPORTED, f"Field '$states.{member}' does not exist.")
        for member in expression.members
        if member and member not in allowed
    ]
    for name in expression.top_level:
        if name == "$$":
            problems.append(Problem(UNSUPPORTED, "Reference to '$$' is not supported."))
        else:
            problems.append(Problem(UNSUPPORTED, f"Reference to '{name}' at the top level is not supported."))
    return tuple(problems)
