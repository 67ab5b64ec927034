"""A small Environment for tests of the pure language room."""

from __future__ import annotations

from dataclasses import dataclass, field

from asfn._json import Json


@dataclass
class Surroundings:
    """Fixed time, randomness and ids; variables from a dict."""

    context: Json = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    now: float = 0.0
    draw: float = 0.5

    def variable(self, name: str) -> Json:
        return self.variables[name]

    def random(self) -> float:
        return self.draw

    def uuid(self) -> str:
        return "00000000-0000-4000-8000-000000000000"


NOWHERE = Surroundings()
