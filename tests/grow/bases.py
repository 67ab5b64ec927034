"""Definitions to begin with: published ones where they are at hand, and grown ones."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asfn._json import JsonObject

CORPUS: Final = Path(__file__).resolve().parents[3] / "shared" / "corpus"
_MOST_CHARACTERS: Final = 12_000


@cache
def published() -> tuple[JsonObject, ...]:
    """The definitions of the corpus beside the project that are not too long; none where there is no corpus."""
    found = []
    for path in sorted(CORPUS.glob("*.json")):
        definition = json.loads(path.read_text()).get("definition")
        if isinstance(definition, dict) and definition and len(json.dumps(definition)) <= _MOST_CHARACTERS:
            found.append(definition)
    return tuple(found)
