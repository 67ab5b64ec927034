"""One finding of the validator. Codes and sentences are AWS's where AWS has one (api.md section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ERROR", "WARNING"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A finding: what is wrong, where, and how to mend it.

    pointer: AWS's location, a path of names such as `/States/Pay/Retry[0]`; None when the finding has no place.
    line, column: in the source text, from 1; None when the definition was given as a value.
    suggestion: a near miss, such as `Did you mean 'ResultPath'?`; shown behind the message, never sent as AWS's text.
    """

    severity: Severity
    code: str
    message: str
    pointer: str | None = None
    line: int | None = None
    column: int | None = None
    suggestion: str | None = None
