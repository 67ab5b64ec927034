"""From a definition's text, value or file to the model: read, check, build.

`load` is what an engine uses. `read_document` and `build` are its ends; `validate.py` is the check between
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from asfn.errors import DefinitionError
from asfn.language.build import build, build_state
from asfn.language.document import Document, Format, read_document

if TYPE_CHECKING:
    import os

    from asfn._json import Json, JsonObject
    from asfn.language.model import StateMachine

__all__ = ["Document", "Format", "build", "build_state", "load", "read_document"]


def load(
    source: str | bytes | dict[str, Json] | os.PathLike[str] | Document,
    *,
    type: Literal["STANDARD", "EXPRESS"] = "STANDARD",
) -> StateMachine:
    """The model of a definition. A str is its text, a PathLike its file.

    Raises DefinitionError with every finding, warnings too, when one of them is an error.
    """
    from asfn.language.validate import validate  # some 15 ms, which only a definition needs

    document = source if isinstance(source, Document) else read_document(source)
    diagnostics = validate(document, type=type)
    if any(diagnostic.severity == "ERROR" for diagnostic in diagnostics):
        raise DefinitionError(diagnostics)
    return build(cast("JsonObject", document.value))
