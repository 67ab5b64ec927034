"""What a check needs to know about its surroundings: the whole definition, and the state it looks at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.model import QueryLanguage
    from asfn.language.validation.findings import Findings

MachineType = Literal["STANDARD", "EXPRESS"]


@dataclass(slots=True)
class Definition:
    """What holds for a whole definition. labels: of distributed Maps, with the place that took each first."""

    findings: Findings
    type: MachineType
    language: QueryLanguage
    state_names: dict[str, Tokens] = field(default_factory=dict)
    labels: dict[str, Tokens] = field(default_factory=dict)


@dataclass(slots=True)
class Variables:
    """The variables of one `States` object. outer: those around it; None behind a distributed Map."""

    assigned: Mapping[str, Tokens]
    outer: Variables | None = None
    reads: list[tuple[str, Tokens]] = field(default_factory=list)

    def owner_outside(self, name: str) -> Tokens | None:
        """Where a scope around this one assigns the variable."""
        scope = self.outer
        while scope is not None:
            if name in scope.assigned:
                return scope.assigned[name]
            scope = scope.outer
        return None


@dataclass(slots=True)
class StateScope:
    """One state under check. type: one of the eight, known to be right.   fields: its object as written."""

    definition: Definition
    variables: Variables
    path: Tokens
    name: str
    type: str
    language: QueryLanguage
    fields: JsonObject

    @property
    def findings(self) -> Findings:
        return self.definition.findings

    @property
    def jsonata(self) -> bool:
        return self.language == "JSONata"

    def get(self, name: str) -> Json:
        return self.fields.get(name)
