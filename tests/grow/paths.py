"""JSONPath states: paths, intrinsic functions, payload templates and choice rules, which mostly find what they seek."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from asfn._json import Json, JsonObject
from tests.grow.shapes import ANY, BOOL, INT, NAMES, TEXT, Kind, Shape, Steps, list_of, tuple_of

MISSING_PATH: Final = "$.no.such.member"


@dataclass(frozen=True, slots=True)
class View:
    """What a field may read. root: what `$` stands for.   item: what a Map around it goes over.

    slip: how often a path leads nowhere on purpose.
    """

    root: Shape
    variables: Mapping[str, Shape]
    item: Shape | None = None
    slip: float = 0.0
    extra: tuple[tuple[str, Shape], ...] = ()

    def on(self, root: Shape) -> View:
        return replace(self, root=root)

    def sources(self) -> list[tuple[str, Shape]]:
        """Roots of paths besides `$`, as they are written in JSONPath."""
        found = [(f"${name}", shape) for name, shape in self.variables.items()]
        found += [("$$.Execution.Name", TEXT), ("$$.State.Name", TEXT), ("$$.StateMachine.Name", TEXT)]
        if self.item is not None:
            found += [("$$.Map.Item.Index", INT), ("$$.Map.Item.Value", self.item)]
        return found


def path_text(rng: Random, root: str, steps: Steps) -> str:
    """The steps in one of the notations of JSONPath."""
    text = root
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier() and rng.random() < 0.8:
            text += f".{step}"
        else:
            text += f"['{step}']"
    return text


def grow_path(rng: Random, view: View, kinds: Collection[Kind] = (), *, own: bool = False) -> tuple[str, Shape] | None:
    """A path to a value of one of the kinds, or of any; None when there is none. own: only below `$`."""
    if rng.random() < view.slip:
        return MISSING_PATH, ANY
    roots = [("$", view.root)]
    if not own:
        roots += view.sources()
    rng.shuffle(roots)
    for root, shape in roots:
        places = [place for place in shape.places() if not kinds or place[1].kind in kinds]
        if places:
            steps, found = rng.choice(places)
            return path_text(rng, root, steps), found
    return None


def grow_value(rng: Random, view: View, depth: int = 2) -> tuple[str, Shape]:
    """What stands under a key that ends with `.$`: a path or a call."""
    if rng.random() < 0.55 or depth == 0:
        found = grow_path(rng, view)
        assert found is not None  # `$` is there
        if found[1].kind in ("object", "any") and rng.random() < 0.05:
            return f"{found[0]}.*", ANY
        return found
    return grow_call(rng, view, depth)


def grow_call(rng: Random, view: View, depth: int = 2) -> tuple[str, Shape]:
    """A call of an intrinsic function on what is at hand."""
    number = _argument(rng, view, "int", "3")
    text = _argument(rng, view, "text", r"'it\'s {}'" if rng.random() < 0.3 else "'text'")
    items = grow_path(rng, view, ["list"])
    inner = grow_call(rng, view, depth - 1)[0] if depth > 0 and rng.random() < 0.3 else text
    calls: list[tuple[str, Shape]] = [
        (f"States.MathAdd({number}, {rng.randrange(1, 9)})", INT),
        (f"States.MathRandom(1, 10, {rng.randrange(99)})", INT),
        (f"States.Format('{{}} and {{}}', {inner}, {number})", TEXT),
        (f"States.JsonToString({grow_path(rng, view)[0]})", TEXT),  # type: ignore[index]  # `$` is there
        (f"States.Hash({text}, 'SHA-256')", TEXT),
        (f"States.Base64Encode({text})", TEXT),
        ("States.Base64Decode('aGVsbG8=')", TEXT),
        ("States.UUID()", TEXT),
        (f"States.Array({number}, {inner}, true, null)", tuple_of(INT, ANY, BOOL, ANY)),
        (f"States.ArrayRange(1, {rng.randrange(2, 9)}, {rng.randrange(1, 4)})", list_of(INT)),
        ("States.StringSplit('a,b;c', ',;')", list_of(TEXT)),
        ('States.StringToJson(\'{"a": 1, "b": [true]}\')', Shape("object", (("a", INT), ("b", tuple_of(BOOL))))),
        ('States.JsonMerge(States.StringToJson(\'{"a": 1}\'), States.StringToJson(\'{"b": "x"}\'), false)',
         Shape("object", (("a", INT), ("b", TEXT)))),
    ]  # fmt: skip
    if items is not None:
        path, shape = items
        element = shape.element or ANY
        calls += [
            (f"States.ArrayLength({path})", INT),
            (f"States.ArrayGetItem({path}, 0)", element),
            (f"States.ArrayPartition({path}, 2)", list_of(list_of(element))),
            (f"States.ArrayUnique({path})", shape),
            (f"States.ArrayContains({path}, {number})", BOOL),
        ]
    return rng.choice(calls)


def _argument(rng: Random, view: View, kind: Kind, literal: str) -> str:
    found = grow_path(rng, replace(view, slip=0), [kind]) if rng.random() < 0.7 else None
    return found[0] if found is not None else literal


def grow_template(rng: Random, view: View, depth: int = 2) -> tuple[JsonObject, Shape]:
    """An object with paths, calls, literals and nested objects."""
    template: JsonObject = {}
    members: dict[str, Shape] = {}
    for name in rng.sample(NAMES, rng.randrange(1, 4)):
        kind = rng.random()
        if kind < 0.6:
            template[f"{name}.$"], members[name] = grow_value(rng, view)
        elif kind < 0.75 and depth > 0:
            template[name], members[name] = grow_template(rng, view, depth - 1)
        elif kind < 0.85 and depth > 0:
            inner, shape = grow_template(rng, view, depth - 1)
            template[name], members[name] = [inner, 1, "text"], tuple_of(shape, INT, TEXT)
        else:
            template[name], members[name] = grow_literal(rng)
    return template, Shape("object", tuple(members.items()))


def grow_literal(rng: Random) -> tuple[Json, Shape]:
    """A value without anything to evaluate in it."""
    choices: tuple[tuple[Json, Shape], ...] = (
        (rng.randrange(100), INT),
        (rng.choice((0.5, -1.0, 1e300)), ANY),
        (rng.choice(("", "x", "$.not.evaluated", "{% neither %}", "é\n")), TEXT),
        (True, BOOL),
        (None, ANY),
        ([1, 2, 3], list_of(INT)),
        ({"a": [{"b": "c"}]}, Shape("object", (("a", tuple_of(Shape("object", (("b", TEXT),)))),))),
    )
    return rng.choice(choices)


_NUMERIC: Final = (
    "NumericEquals",
    "NumericLessThan",
    "NumericGreaterThan",
    "NumericLessThanEquals",
    "NumericGreaterThanEquals",
)
_STRING: Final = (
    "StringEquals",
    "StringLessThan",
    "StringGreaterThan",
    "StringLessThanEquals",
    "StringGreaterThanEquals",
)
_TIMES: Final = ("TimestampEquals", "TimestampLessThan", "TimestampGreaterThanEquals")
_TESTS: Final = ("IsNull", "IsPresent", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp")


def grow_rule(rng: Random, view: View, depth: int = 2) -> dict[str, Any]:
    """A comparison, or comparisons joined by And, Or and Not; without Next."""
    kind = rng.random()
    if depth > 0 and kind < 0.15:
        return {"Not": grow_rule(rng, view, depth - 1)}
    if depth > 0 and kind < 0.4:
        return {rng.choice(("And", "Or")): [grow_rule(rng, view, depth - 1) for _ in range(rng.randrange(1, 4))]}
    if kind < 0.5:
        return {"Variable": rng.choice((MISSING_PATH, "$['a']", "$.some")), "IsPresent": rng.random() < 0.5}
    found = grow_path(rng, view)
    assert found is not None
    path, shape = found
    if rng.random() < 0.25:
        return {"Variable": path, rng.choice(_TESTS): rng.random() < 0.5}
    if shape.kind == "bool":
        return {"Variable": path, "BooleanEquals": rng.random() < 0.5}
    if shape.kind == "text":
        if rng.random() < 0.3:
            return {"Variable": path, "StringMatches": rng.choice(("*", "a*", "*e*", "\\*", "x"))}
        if rng.random() < 0.2:
            return {"Variable": path, rng.choice(_TIMES): "2025-01-01T00:00:03Z"}
        return _compared(rng, view, path, rng.choice(_STRING), "text", "m")
    return _compared(rng, view, path, rng.choice(_NUMERIC), "int", rng.choice((0, 4, 4.0, 9.5)))


def _compared(rng: Random, view: View, path: str, operator: str, kind: Kind, literal: Json) -> dict[str, Any]:
    other = grow_path(rng, view, [kind]) if rng.random() < 0.3 else None
    if other is not None:
        return {"Variable": path, f"{operator}Path": other[0]}
    return {"Variable": path, operator: literal}
