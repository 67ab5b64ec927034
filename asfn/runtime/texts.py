"""Texts that callers give: inputs, error names and causes, checked before anything of them is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asfn.errors import InvalidParameter
from asfn.language.source_json import JsonSyntaxError, parse_positions

if TYPE_CHECKING:
    from asfn._json import JsonError


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold the text: it has no lone surrogate."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def input_refusal(text: str, error: JsonError) -> str:
    """The message of InvalidExecutionInput for a text that is no JSON document: AWS's parser's [A] api.md section 3.

    error: ours, for what AWS's parser would take.
    """
    why = str(error)
    try:
        parse_positions(text)
    except JsonSyntaxError as fault:
        why = "Invalid execution input." if "end-of-input" in fault.message else fault.message
    return f"Invalid State Machine Execution Input: '{why}'"


def check_text(text: str | None, name: str, longest: int) -> None:
    """Raise InvalidParameter for a text that is too long, is none, or cannot be kept. name: of the parameter.

    Source: the first sentence [A], api.md section 3; what AWS says of a lone surrogate, which no request can carry, is
    not known [U].
    """
    if text is None:
        return
    if not isinstance(text, str):
        raise InvalidParameter(f"{name} is of type {type(text).__name__}, not a text")
    if len(text) > longest:
        raise InvalidParameter(
            f"1 validation error detected: Value {shown(text)} at '{name}' failed to satisfy constraint: "
            f"Member must have length less than or equal to {longest}"
        )
    if not is_unicode(text):
        raise InvalidParameter(f"{name} must be a text: {shown(text)} holds a lone surrogate")


def shown(text: str) -> str:
    """The text in quotes, as it can be printed: a lone surrogate is spelled out."""
    return f"'{text.encode(errors='backslashreplace').decode()}'"
