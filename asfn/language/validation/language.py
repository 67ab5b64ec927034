"""Fields of the other query language: AWS names language and field, at the path of their object [A]."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asfn._json import JsonObject
    from asfn.language.document import Tokens
    from asfn.language.validation.scope import StateScope


def check_language(
    state: StateScope,
    path: Tokens,
    value: JsonObject,
    *,
    jsonpath: Iterable[str] = (),
    jsonata: Iterable[str] = (),
) -> bool:
    """Report the members of an object that belong to the language the state does not have."""
    clean = True
    for name in jsonpath if state.jsonata else jsonata:
        if name in value:
            report_language(state, path, name)
            clean = False
    return clean


def report_language(state: StateScope, path: Tokens, name: str) -> None:
    """Report one field of the other language.

    Not of a JSONPath state in a JSONata machine: AWS says that it may not be one, and no more ([A] floci 2972).
    """
    if state.language != state.definition.language == "JSONata":
        return
    own, other = ("JSONata", "JSONPath") if state.jsonata else ("JSONPath", "JSONata")
    limit = f"is only supported for the '{other}' QueryLanguage"
    message = f"The QueryLanguage is set to '{own}', but field '{name}' {limit}"
    state.findings.error(path, message, field=name)
