"""Attributes: what a program gives an execution to find it by. They stand beside the definition, never in it.

Names and values are texts, bounded as AWS bounds the tags of its resources; they are stored as they are, and never go
through a codec, so they are no place for secrets.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from asfn.errors import InvalidParameter
from asfn.runtime.texts import is_unicode

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_ATTRIBUTES: Final = 50
NAME_CHARACTERS: Final = 128
VALUE_CHARACTERS: Final = 256

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def check_attributes(attributes: Mapping[str, str] | None) -> Mapping[str, str]:
    """A copy, in the order of the names. Raises InvalidParameter; the text names no value."""
    if not attributes:
        return _NONE
    if len(attributes) > MOST_ATTRIBUTES:
        raise InvalidParameter(f"an execution has at most {MOST_ATTRIBUTES} attributes, not {len(attributes)}")
    for name, value in attributes.items():
        _check_text(name, f"attribute name {name!r}", 1, NAME_CHARACTERS)
        _check_text(value, f"value of attribute {name!r}", 0, VALUE_CHARACTERS)
    return dict(sorted(attributes.items()))


def _check_text(text: object, what: str, least: int, most: int) -> None:
    if not isinstance(text, str):
        raise InvalidParameter(f"{what} is of type {type(text).__name__}, not a text")
    if not least <= len(text) <= most:
        raise InvalidParameter(f"{what} has {len(text)} characters; {least} to {most} are allowed")
    if "\0" in text or not is_unicode(text):
        raise InvalidParameter(f"{what} holds a character that cannot be stored")
