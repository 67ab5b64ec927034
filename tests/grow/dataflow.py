"""The fields of a state that say which data goes where: paths, templates, Output, Assign, in both languages.

Each method draws some of them, writes them into the state's fields, and tells the shape of what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from asfn._json import JsonObject
from tests.grow.paths import View, grow_path, grow_template, grow_value
from tests.grow.queries import grow_output
from tests.grow.shapes import EMPTY, NAMES, Shape, meet

Fields = dict[str, Any]  # Any: the fields of a state being put together


@dataclass(frozen=True, slots=True)
class Env:
    """Where a state grows. input: of what shape its input is.   item: of the Map around it.

    pure: nothing here may wait, not even for children, because it runs beside others and does not begin with a task.
    depth: fan-outs around it.
    """

    input: Shape
    variables: Mapping[str, Shape] = field(default_factory=dict)
    item: Shape | None = None
    pure: bool = False
    depth: int = 0

    def into(self, shape: Shape, assigned: Mapping[str, Shape] | None = None) -> Env:
        """After a state that gave this and assigned these variables."""
        return replace(self, input=shape, variables={**self.variables, **(assigned or {})})


def meet_env(first: Env, second: Env) -> Env:
    """Where two ways meet."""
    variables = {
        name: meet(shape, second.variables[name]) for name, shape in first.variables.items() if name in second.variables
    }
    return replace(first, input=meet(first.input, second.input), variables=variables)


class DataFlow:
    """Draws fields along shapes. slip: how often a path leads nowhere on purpose."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.slip = rng.choice((0.0, 0.0, 0.0, 0.03))
        self.names = 0

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def variable(self) -> str:
        """A name for a variable that no other one of the machine has: inner scopes may not take those of outer ones."""
        self.names += 1
        return f"{self.rng.choice(('v', 'total', 'größe', 'saved'))}{self.names}"

    def view(self, env: Env, root: Shape | None = None, **extra: Shape) -> View:
        return View(env.input if root is None else root, env.variables, env.item, self.slip, tuple(extra.items()))

    def input_path(self, env: Env, fields: Fields) -> Shape:
        if self.chance(0.12):
            found = grow_path(self.rng, self.view(env))
            assert found is not None
            fields["InputPath"] = found[0]
            return found[1]
        if self.chance(0.02):
            fields["InputPath"] = None
            return EMPTY
        return env.input

    def result_path(self, raw: Shape, result: Shape, fields: Fields) -> Shape:
        kind = self.rng.random()
        if kind < 0.45 or raw.kind != "object":
            return result
        if kind < 0.55:
            fields["ResultPath"] = None
            return raw
        steps = tuple(self.rng.sample(NAMES, self.rng.choice((1, 1, 2))))
        if not self.objects_on(raw, steps[:-1]):
            steps = steps[:1]
        fields["ResultPath"] = "$" + "".join(f".{step}" if step.isidentifier() else f"['{step}']" for step in steps)
        return raw.with_member(steps, result)

    @staticmethod
    def objects_on(shape: Shape, steps: tuple[str, ...]) -> bool:
        """Whether a member can be put below these steps."""
        for step in steps:
            member = dict(shape.members).get(step)
            if member is None or member.kind != "object":
                return False
            shape = member
        return True

    def output_path(self, env: Env, shape: Shape, fields: Fields) -> Shape:
        if self.chance(0.1):
            found = grow_path(self.rng, self.view(env, shape), own=self.chance(0.7))
            assert found is not None
            fields["OutputPath"] = found[0]
            return found[1]
        if self.chance(0.02):
            fields["OutputPath"] = None
            return EMPTY
        return shape

    def assign(self, view: View, language: str, fields: Fields, share: float = 0.2) -> dict[str, Shape]:
        """Assign, with names of its own; the shapes of what it assigns."""
        assigned: dict[str, Shape] = {}
        if not self.chance(share):
            return assigned
        values: JsonObject = {}
        for _ in range(self.rng.choice((1, 1, 2))):
            name = self.variable()
            if language == "JSONata":
                values[name], assigned[name] = grow_output(self.rng, view, 1)
            elif self.chance(0.7):
                values[f"{name}.$"], assigned[name] = grow_value(self.rng, view)
            else:
                values[name], assigned[name] = grow_template(self.rng, view, 1)
        fields["Assign"] = values
        return assigned

    def finish(self, env: Env, language: str, fields: Fields, result: Shape | None) -> Env:
        """Output fields of a state that has a result, or none."""
        if language == "JSONata":
            extra = {"result": result} if result is not None else {}
            view = self.view(env, **extra)
            shape = result if result is not None else env.input
            if self.chance(0.4):
                fields["Output"], shape = grow_output(self.rng, view)
            return env.into(shape, self.assign(view, language, fields))
        if result is None:
            shape = self.input_path(env, fields)
            assigned = self.assign(self.view(env, shape), language, fields)
            return env.into(self.output_path(env, shape, fields), assigned)
        assigned = self.assign(self.view(env, result), language, fields)
        if self.chance(0.2):
            fields["ResultSelector"], result = grow_template(self.rng, self.view(env, result))
        placed = self.result_path(env.input, result, fields)
        return env.into(self.output_path(env, placed, fields), assigned)
