"""JSONata states: expressions, and values with expressions in them, that mostly find what they ask for."""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import TYPE_CHECKING

from tests.grow.paths import grow_literal
from tests.grow.shapes import ANY, BOOL, INT, NAMES, TEXT, Kind, Shape, Steps, list_of, tuple_of

if TYPE_CHECKING:
    from asfn._json import Json, JsonObject
    from tests.grow.paths import View


def _text(root: str, steps: Steps) -> str:
    text = root
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier() and step.isascii():
            text += f".{step}"
        else:
            text += f".`{step}`"
    return text


def grow_read(rng: Random, view: View, kinds: Collection[Kind] = ()) -> tuple[str, Shape] | None:
    """An expression that reads a value of one of the kinds, or of any; None when there is none.

    extra of the view: `("result", shape)` or `("errorOutput", shape)` where `$states` has it.
    """
    if rng.random() < view.slip:
        return "$states.input.no.such.member", ANY
    roots = [("$states.input", view.root), *((f"${name}", shape) for name, shape in view.variables.items())]
    roots += [(f"$states.{name}", shape) for name, shape in view.extra]
    roots += [("$states.context.Execution.Name", TEXT), ("$states.context.State.Name", TEXT)]
    if view.item is not None:
        roots += [("$states.context.Map.Item.Index", INT), ("$states.context.Map.Item.Value", view.item)]
    rng.shuffle(roots)
    for root, shape in roots:
        places = [place for place in shape.places() if not kinds or place[1].kind in kinds]
        if places:
            steps, found = rng.choice(places)
            return _text(root, steps), found
    return None


def _read_or(rng: Random, view: View, kind: Kind, literal: str) -> str:
    found = grow_read(rng, view, [kind]) if rng.random() < 0.7 else None
    return found[0] if found is not None else literal


def grow_code(rng: Random, view: View) -> tuple[str, Shape]:
    """The inside of an expression, and the shape of what it gives."""
    if rng.random() < 0.5:
        found = grow_read(rng, view)
        assert found is not None  # $states.input is there
        return found
    number, text = _read_or(rng, view, "int", "3"), _read_or(rng, view, "text", "'text'")
    truth = _read_or(rng, view, "bool", "true")
    items = grow_read(rng, view, ["list"])
    choices: list[tuple[str, Shape]] = [
        (f"{number} + {rng.randrange(9)} * 2", INT),
        (f"{text} & '-' & {text}", TEXT),
        (f"$string({number})", TEXT),
        (f"$uppercase({text})", TEXT),
        (f"$length({text})", INT),
        (f"{truth} ? {number} : 0", INT),
        (f"$not({truth})", BOOL),
        (f"{number} > 4 and {truth}", BOOL),
        (f"[{number}, {text}, {truth}]", tuple_of(INT, TEXT, BOOL)),
        (
            f"{{'a': {number}, 'b': {{'c': {text}}}}}",
            Shape("object", (("a", INT), ("b", Shape("object", (("c", TEXT),))))),
        ),
        (f"($x := {number}; $f := function($n) {{ $n * 2 }}; $f($x))", INT),
        (f"[1..{rng.randrange(2, 6)}]", list_of(INT)),
        (f"$map([1..3], function($v) {{ $v + {number} }})", list_of(INT)),
        (f"$reduce([1..{rng.randrange(2, 5)}], function($a, $b) {{ $a + $b }})", INT),
        (f"$merge([{{'a': {number}}}, {{'b': {text}}}])", Shape("object", (("a", INT), ("b", TEXT)))),
        (f"$partition([1..5], {rng.randrange(1, 4)})", list_of(list_of(INT))),
        (f"$hash({text}, 'SHA-1')", TEXT),
        (f"$random({rng.randrange(99)}) < 2", BOOL),
        ("$length($uuid())", INT),
        ("$parse('{\"a\": [1, 2]}')", Shape("object", (("a", list_of(INT)),))),
        (f"$contains({text}, /[a-z]+/)", BOOL),
        (f"$exists({text})", BOOL),
        ("$states.context.Execution.Input", ANY),
        ("$states.(input)", ANY),
        ("$type($states)", TEXT),
    ]
    if items is not None:
        code, shape = items
        choices += [
            (f"$count({code})", INT),
            (f"{code}[0]", shape.element or ANY),
            (f"$reverse({code})", shape),
            (f"$string({code})", TEXT),
            (f"$append({code}, 1)", ANY),
        ]
    return rng.choice(choices)


def grow_expression(rng: Random, view: View) -> tuple[str, Shape]:
    code, shape = grow_code(rng, view)
    return f"{{% {code} %}}", shape


def grow_condition(rng: Random, view: View) -> Json:
    """What a Choice rule may have for Condition."""
    if rng.random() < 0.1:
        return rng.random() < 0.5
    number, text = _read_or(rng, view, "int", "3"), _read_or(rng, view, "text", "'text'")
    truth = _read_or(rng, view, "bool", "true")
    code = rng.choice(
        (
            f"{number} < 5",
            f"{number} >= {number}",
            f"{text} = 'x'",
            f"{text} in ['x', '', '42']",
            truth,
            f"$not({truth}) or {number} = 0",
            f"$type({text}) = 'string' and $length({text}) > 2",
            "$exists($states.input.no.such.member)",
        )
    )
    return f"{{% {code} %}}"


def grow_output(rng: Random, view: View, depth: int = 2) -> tuple[Json, Shape]:
    """A value with expressions in it, as Output and Arguments take it."""
    kind = rng.random()
    if kind < 0.35:
        return grow_expression(rng, view)
    if kind < 0.8:
        return grow_object(rng, view, depth)
    if kind < 0.9 and depth > 0:
        inner, shape = grow_output(rng, view, depth - 1)
        return [inner, 1, "text"], tuple_of(shape, INT, TEXT)
    return grow_literal_of_jsonata(rng)


def grow_object(rng: Random, view: View, depth: int = 2) -> tuple[JsonObject, Shape]:
    value: JsonObject = {}
    members: dict[str, Shape] = {}
    for name in rng.sample(NAMES, rng.randrange(1, 4)):
        if depth > 0 and rng.random() < 0.2:
            value[name], members[name] = grow_output(rng, view, depth - 1)
        elif rng.random() < 0.2:
            value[name], members[name] = grow_literal_of_jsonata(rng)
        else:
            value[name], members[name] = grow_expression(rng, view)
    return value, Shape("object", tuple(members.items()))


def grow_literal_of_jsonata(rng: Random) -> tuple[Json, Shape]:
    while True:
        literal, shape = grow_literal(rng)
        if not (isinstance(literal, str) and literal.startswith("{%")):
            return literal, shape
