"""What an expression may see beside its own document. Pure: the runtime hands in time, randomness and ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asfn._json import Json


class Environment(Protocol):
    """The surroundings of one evaluation. `plan/scope.py` has the real one."""

    @property
    def context(self) -> Json:
        """The context object: `$$`, `$states.context`. Built when first read."""

    def variable(self, name: str) -> Json:
        """The value of a workflow variable, inner scopes first. Raises KeyError when nothing was assigned."""

    @property
    def now(self) -> float:
        """Epoch seconds, constant within one evaluation of a state."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def uuid(self) -> str:
        """A new version 4 UUID in lower case."""
