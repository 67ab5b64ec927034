"""What the grower knows of a JSON value before the machine runs: which members it surely has, of which kind.

A machine that is grown along shapes rarely asks for what is not there, so that it gets far.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from asfn._json import Json

Kind = Literal["int", "text", "bool", "object", "list", "tuple", "any"]
Steps = tuple[str | int, ...]

NAMES: Final = ("a", "b", "c", "id", "items", "total", "some key", "x-y", "größe", "Name", "nested_1")


@dataclass(frozen=True, slots=True)
class Shape:
    """members: of an object by name; of a tuple, a list whose elements are known one by one, by position.

    element: of a list, which has at least one. "any" is a value of which nothing is known.
    """

    kind: Kind
    members: tuple[tuple[str, Shape], ...] = ()
    element: Shape | None = None

    def places(self, steps: Steps = (), depth: int = 3) -> list[tuple[Steps, Shape]]:
        """Every place in the value that is surely there, the value itself first."""
        found: list[tuple[Steps, Shape]] = [(steps, self)]
        if depth == 0:
            return found
        for name, member in self.members:
            step: str | int = int(name) if self.kind == "tuple" else name
            found += member.places((*steps, step), depth - 1)
        if self.element is not None:
            found += self.element.places((*steps, 0), depth - 1)
        return found

    def with_member(self, steps: tuple[str, ...], value: Shape) -> Shape:
        """The object with a value placed at a path, as ResultPath does it."""
        if not steps:
            return value
        members = dict(self.members) if self.kind == "object" else {}
        members[steps[0]] = members.get(steps[0], EMPTY).with_member(steps[1:], value)
        return Shape("object", tuple(members.items()))


INT: Final = Shape("int")
TEXT: Final = Shape("text")
BOOL: Final = Shape("bool")
ANY: Final = Shape("any")
EMPTY: Final = Shape("object")
ERROR: Final = Shape("object", (("Error", TEXT), ("Cause", TEXT)))


def list_of(element: Shape) -> Shape:
    return Shape("list", element=element)


def tuple_of(*elements: Shape) -> Shape:
    return Shape("tuple", tuple((str(index), element) for index, element in enumerate(elements)))


def meet(first: Shape, second: Shape) -> Shape:
    """What is known of a value that has one of two shapes."""
    if first == second:
        return first
    if first.kind == second.kind == "object":
        others = dict(second.members)
        return Shape(
            "object", tuple((name, meet(value, others[name])) for name, value in first.members if name in others)
        )
    if first.kind == second.kind == "list" and first.element is not None and second.element is not None:
        return list_of(meet(first.element, second.element))
    return ANY


def grow_shape(rng: Random, depth: int = 3) -> Shape:
    """A random shape; an object outermost most of the time."""
    kind = (
        rng.choice(("object", "object", "object", "list", "int", "text", "bool"))
        if depth
        else rng.choice(("int", "text", "bool"))
    )
    if depth == 3 and rng.random() < 0.85:
        kind = "object"
    if kind == "object":
        names = rng.sample(NAMES, rng.randrange(1, 4))
        return Shape("object", tuple((name, grow_shape(rng, depth - 1)) for name in names))
    if kind == "list":
        return list_of(grow_shape(rng, depth - 1))
    return {"int": INT, "text": TEXT, "bool": BOOL}[kind]


_TEXTS: Final = (
    "",
    "x",
    "two words",
    "tab\tnew\nline",
    'quote " and \\',
    "ünïcödé",
    "\U0001f600",
    "2025-01-01T00:00:03Z",
    "42",
    "a,b;c",
    "$.a",
    "{% 1 %}",
)


def sample(rng: Random, shape: Shape) -> Json:
    """A value of the shape. A list is empty now and then all the same."""
    if shape.kind == "object":
        value: dict[str, Json] = {name: sample(rng, member) for name, member in shape.members}
        if rng.random() < 0.1:
            value["extra"] = None
        return value
    if shape.kind == "list":
        assert shape.element is not None
        count = 0 if rng.random() < 0.03 else rng.choice((1, 2, 2, 3, 5))
        return [sample(rng, shape.element) for _ in range(count)]
    if shape.kind == "tuple":
        return [sample(rng, member) for _, member in shape.members]
    if shape.kind == "int":
        return rng.randrange(10)
    if shape.kind == "bool":
        return rng.random() < 0.5
    if shape.kind == "text":
        return rng.choice(_TEXTS)
    return rng.choice((None, 0, "any", [], {}))
