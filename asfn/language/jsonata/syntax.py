"""What one walk over the syntax tree of an expression tells: its variables, what AWS refuses, what it may cost.

The walk follows scopes (`:=`, parameters, `@`, `#`) and context: only the first step of a path is read against the
top-level context; later steps, predicates, sort terms and groups have a context of their own ([A] for the refusals).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from asfn.language.jsonata.items import CheckedSignature
from asfn.language.jsonata.library import FUNCTIONS
from asfn.language.jsonata.parsing import Node, parse

ROOT: Final = "$$"
CONTEXT_ITEM: Final = "$"

AWS_FUNCTIONS: Final = frozenset(("partition", "range", "hash", "random", "uuid", "parse"))
BUILTINS: Final = AWS_FUNCTIONS | FUNCTIONS.keys() | {"now", "millis", "shuffle"}


def _takes_context(signature: str) -> int:
    """With fewer arguments than this a function reads the context item; 0 for one that never does."""
    parameters = CheckedSignature(signature, "")._params
    if not any(parameter.context for parameter in parameters):
        return 0
    return sum(1 for parameter in parameters if parameter.context or not parameter.regex.endswith("?"))


_TAKES_CONTEXT: Final = {name: _takes_context(signature) for name, (signature, _) in FUNCTIONS.items()}
_SCALARS: Final = frozenset(
    name for name, (signature, _) in FUNCTIONS.items() if signature.rpartition(":")[2] in ("s>", "n>", "b>")
) | {"hash", "random", "uuid", "now", "millis"}
_MOST_ARGUMENTS: Final = {"partition": 2, "range": 3, "hash": 2, "random": 1, "uuid": 0, "parse": 1}
_PICTURES: Final = frozenset(("formatInteger", "formatNumber", "fromMillis", "now", "parseInteger", "toMillis"))
_LONG_WORK: Final = frozenset(("distinct", "zip", "sort", "shuffle"))
_LONGEST_PICTURE: Final = 200
_LONGEST_RANGE: Final = 1_000
_MOST_PATHS: Final = 4_096


@dataclass(frozen=True, slots=True)
class OuterValue:
    """A value from outside a loop that every turn may put into the result: `$x.rows` in `$map($y, ... $x.rows ...)`.

    variable is None for a value of unknown size.
    """

    variable: str | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Syntax:
    """A parsed expression.

    variables: names read that nothing inside binds, functions of the language left out.
    shadowed_functions: names of functions read other than by calling them; a workflow variable may hide them.
    members: what is read directly from `$states`, in order, known to AWS or not; None when `$states` is used whole.
    top_level: what AWS refuses, in order: bare names, "$", "$$".
    unknown_functions: called, and neither of the language nor bound.
    depth: how deep evaluation may nest; an upper bound, calls of lambdas counted once.
    unbounded: may loop or grow without regard to its input, so only the pure engine's limits will do.
    outer_values, compares_all: cost that depends on the size of the data (see rust.py).
    makes_text: a number may end up inside a text.   makes_functions: the result may be a function.
    needs_context: reads the context item, which is undefined.
    functions: functions of AWS and of the language that are mentioned.
    """

    source: str
    tree: Node
    variables: frozenset[str]
    shadowed_functions: frozenset[str]
    members: tuple[str, ...] | None
    top_level: tuple[str, ...]
    unknown_functions: tuple[str, ...]
    functions: frozenset[str]
    depth: int
    unbounded: bool
    outer_values: tuple[OuterValue, ...]
    compares_all: bool
    makes_text: bool
    makes_functions: bool
    needs_context: bool


@lru_cache(maxsize=4_096)
def analyse(source: str) -> Syntax:
    """The facts about an expression without its delimiters, cached by text. Raises JsonataSyntaxError."""
    tree = parse(source)
    walk = _Walk()
    depth = walk.node(tree, _Place(scope={}))
    whole = "" in walk.members
    return Syntax(
        source=source,
        tree=tree,
        variables=frozenset(walk.variables),
        shadowed_functions=frozenset(walk.function_values),
        members=None if whole else tuple(walk.members),
        top_level=tuple(walk.top_level),
        unknown_functions=tuple(walk.unknown_functions),
        functions=frozenset(walk.functions),
        depth=depth + walk.lambda_depth,
        unbounded=walk.unbounded or walk.recursive() or walk.paths() > _MOST_PATHS or walk.builds_pairs(),
        outer_values=tuple(dict.fromkeys(walk.outer_values)),
        compares_all="distinct" in walk.functions,
        makes_text=walk.makes_text or bool(walk.functions.keys() & {"string", "join"}),
        makes_functions=walk.makes_functions,
        needs_context=walk.needs_context or bool(walk.top_level),
    )


@dataclass(frozen=True, slots=True)
class _Binding:
    """What a local name stands for. loop: the loop depth where it was bound."""

    loop: int
    function: Node | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk stands. scope is changed by `:=` for the rest of its block.

    top: the context item is the (missing) top-level one.   loop: enclosing iterations.   building: the value may
    become part of the result.   owner: the bound lambda around, for the call graph.
    """

    scope: dict[str, _Binding]
    top: bool = True
    loop: int = 0
    building: bool = True
    owner: str | None = None

    def inner(self, **changes: object) -> _Place:
        values = {name: getattr(self, name) for name in self.__slots__}
        values.update(changes)
        return _Place(**values)


@dataclass(slots=True)
class _Walk:
    variables: dict[str, None] = field(default_factory=dict)
    function_values: dict[str, None] = field(default_factory=dict)
    members: dict[str, None] = field(default_factory=dict)
    top_level: dict[str, None] = field(default_factory=dict)
    unknown_functions: dict[str, None] = field(default_factory=dict)
    functions: dict[str, None] = field(default_factory=dict)
    calls: dict[str | None, set[str]] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    outer_values: list[OuterValue] = field(default_factory=list)
    lambda_depth: int = 0
    has_range: bool = False
    unbounded: bool = False
    makes_text: bool = False
    makes_functions: bool = False
    needs_context: bool = False

    def node(self, node: Node, place: _Place, *, consumed: bool = False) -> int:
        """Visit a node and what hangs on it; returns the depth of its evaluation.

        consumed: the value is handed to a function of the language or thrown away, so it is no result itself.
        """
        if node is None:
            return 0
        self.makes_functions |= not consumed and self.is_function(node, place)
        return self.visit(node, place, _HANDLERS.get(node.type))

    def visit(self, node: Node, place: _Place, handler: Callable[[_Walk, Node, _Place], int] | None) -> int:
        depth = handler(self, node, place) if handler is not None else 0
        inside = place.inner(top=False, building=False, loop=place.loop + 1)
        for predicate in node.predicate or ():
            depth = max(depth, self.node(predicate.expr, inside))
        for stage in node.stages or ():
            if stage.type == "filter":
                depth = max(depth, self.node(stage.expr, inside))
        if node.group is not None and node.type != "path":
            depth = max(depth, self.group(node.group, place))
        return depth + 1

    def is_function(self, node: Node, place: _Place) -> bool:
        if node.type == "variable":
            binding = place.scope.get(str(node.value))
            return node.value in BUILTINS if binding is None else binding.function is not None
        return node.type in ("lambda", "partial", "regex", "transform") and not node.thunk

    def all(self, nodes: Iterable[Node], place: _Place) -> int:
        return max((self.node(node, place) for node in nodes), default=0)

    def group(self, group: Node, place: _Place) -> int:
        inside = place.inner(top=False, loop=place.loop + 1)
        return max((self.all(pair, inside) for pair in group.lhs_object), default=0)

    def path(self, node: Node, place: _Place) -> int:
        scope = dict(place.scope)
        self.states_member(node, place)
        outer = self.outer_path(node, place)
        if outer is not None:
            self.outer_values.append(outer)
        depth = 0
        for index, step in enumerate(node.steps):
            here = place.inner(scope=scope)
            if index:
                here = here.inner(top=False, loop=place.loop + 1)
            elif len(node.steps) > 1:
                here = here.inner(building=False)
            handler = _Walk.variable if not index and step.type == "variable" else _HANDLERS.get(step.type)
            depth = max(depth, self.visit(step, here, handler))
            self.makes_functions |= index == len(node.steps) - 1 and self.is_function(step, here)
            for name in (step.focus, step.index):
                if name is not None:
                    scope[name] = _Binding(place.loop + 1)
            for stage in step.stages or ():
                if stage.type == "index":
                    scope[stage.value] = _Binding(place.loop + 1)
        if node.group is not None:
            depth = max(depth, self.group(node.group, place.inner(scope=scope)))
        return depth

    def states_member(self, node: Node, place: _Place) -> None:
        """Record `$states.x`, or `$states` alone (as "")."""
        first = node.steps[0]
        if first.type != "variable" or first.value != "states" or "states" in place.scope:
            return
        plain = first.predicate is None and first.stages is None and first.focus is None and first.index is None
        second = node.steps[1] if len(node.steps) > 1 else None
        direct = plain and second is not None and second.type == "name"
        self.members[str(second.value) if direct and second is not None else ""] = None

    def outer_path(self, node: Node, place: _Place) -> OuterValue | None:
        """The value a path takes from outside the loop around it, None when it takes none that matters."""
        first = node.steps[0]
        if first.type != "variable" or not first.value or not place.loop or not place.building:
            return None
        names = []
        for step in node.steps[1:]:
            if step.type != "name" or step.stages is not None:
                break
            names.append(str(step.value))
        return self.outer_value(str(first.value), tuple(names), place)

    def outer_value(self, name: str, names: tuple[str, ...], place: _Place) -> OuterValue | None:
        binding = place.scope.get(name)
        if binding is None:
            return None if name in BUILTINS else OuterValue(name, names)
        if binding.function is not None or binding.loop >= place.loop or names:
            return None
        return OuterValue(None)

    def name(self, node: Node, place: _Place) -> int:
        if place.top:
            self.top_level[str(node.value)] = None
        return 0

    def wildcard(self, node: Node, place: _Place) -> int:
        self.needs_context |= place.top
        return 0

    def variable(self, node: Node, place: _Place, *, called: bool = False) -> int:
        name = str(node.value)
        if name == "":
            if place.top:
                self.top_level[CONTEXT_ITEM] = None
            return 0
        if name == "$":
            self.top_level[ROOT] = None
            return 0
        self.reads[name] = self.reads.get(name, 0) + 1
        binding = place.scope.get(name)
        if binding is not None:
            if binding.function is not None:
                self.calls.setdefault(place.owner, set()).add(name)
            elif called:
                self.unbounded = True
        elif name in BUILTINS:
            self.functions[name] = None
            if not called:
                self.function_values[name] = None
        elif not called:
            if name != "states":
                self.variables[name] = None
        elif name not in self.unknown_functions:
            self.unknown_functions[name] = None
        return 0

    def lone_variable(self, node: Node, place: _Place) -> int:
        if node.value == "states" and "states" not in place.scope:
            self.members[""] = None
        if place.loop and place.building and node.value not in ("", "$"):
            outer = self.outer_value(str(node.value), (), place)
            if outer is not None:
                self.outer_values.append(outer)
        return self.variable(node, place)

    def unary(self, node: Node, place: _Place) -> int:
        if node.value == "[":
            return self.all(node.expressions, place)
        if node.value == "{":
            return max((self.all(pair, place) for pair in node.lhs_object), default=0)
        return self.node(node.expression, place.inner(building=False))

    def binary(self, node: Node, place: _Place) -> int:
        if node.value == "..":
            self.has_range = True
            self.range(node, place)
        self.makes_text |= node.value == "&"
        inside = place.inner(building=node.value in ("..", "&") and place.building)
        return max(self.node(node.lhs, inside), self.node(node.rhs, inside))

    def range(self, node: Node, place: _Place) -> None:
        if not place.loop:
            return
        low, high = node.lhs, node.rhs
        known = low.type == "number" and high.type == "number"
        if not known or high.value - low.value > _LONGEST_RANGE:
            self.unbounded = True

    def bind(self, node: Node, place: _Place, *, consumed: bool = False) -> int:
        name = str(node.lhs.value)
        is_function = node.rhs.type == "lambda"
        binding = _Binding(place.loop, node.rhs if is_function else None)
        if is_function:
            inner = dict(place.scope)
            inner[name] = binding
            depth = self.node(node.rhs, place.inner(scope=inner, owner=name), consumed=consumed)
            self.lambda_depth += depth
        else:
            depth = self.node(node.rhs, place, consumed=consumed)
        place.scope[name] = binding
        return depth

    def function(self, node: Node, place: _Place) -> int:
        procedure = node.procedure
        name = str(procedure.value) if procedure.type == "variable" else None
        depth = 0
        if name is not None:
            self.variable(procedure, place, called=True)
            self.builtin_call(name, node, place)
        else:
            depth = self.node(procedure, place)
            if procedure.type not in ("lambda", "path"):
                self.unbounded = True
        building = place.building and name not in _SCALARS
        for argument in node.arguments:
            if argument.type == "operator":
                continue  # the placeholder of a partial application
            inside = place.inner(building=building)
            depth = max(depth, self.node(argument, inside, consumed=name in BUILTINS))
        return depth

    def builtin_call(self, name: str, node: Node, place: _Place) -> None:
        if name not in BUILTINS or name in place.scope:
            return
        count = len(node.arguments)
        if place.top and count < _TAKES_CONTEXT.get(name, 0):
            self.needs_context = True
        if count > _MOST_ARGUMENTS.get(name, count):
            self.unbounded = True  # the pure engine has AWS's text for it
        if name in _PICTURES:
            for picture in node.arguments[0 if name == "now" else 1 :]:
                if picture.type != "string" or len(picture.value) > _LONGEST_PICTURE:
                    self.unbounded |= picture.type in ("string", "variable", "path", "binary", "function", "apply")
        if name == "reduce":
            self.reduction(node, place)

    def reduction(self, node: Node, place: _Place) -> None:
        """A reduction whose function reads its accumulator twice may double it at every turn."""
        function = node.arguments[1] if len(node.arguments) > 1 else None
        if function is not None and function.type == "variable":
            binding = place.scope.get(str(function.value))
            function = binding.function if binding is not None else None
            if binding is None and str(node.arguments[1].value) in BUILTINS:
                return
        if function is None or function.type != "lambda" or not function.arguments:
            self.unbounded = True
            return
        counter = _Walk()
        counter.node(function.body, _Place(scope={}))
        if counter.reads.get(str(function.arguments[0].value), 0) > 1:
            self.unbounded = True

    def lambda_(self, node: Node, place: _Place) -> int:
        scope = dict(place.scope)
        loop = place.loop + (0 if node.thunk else 1)
        for parameter in node.arguments:
            scope[str(parameter.value)] = _Binding(loop)
        return self.node(node.body, place.inner(scope=scope, loop=loop, building=True))

    def apply(self, node: Node, place: _Place) -> int:
        left = self.node(node.lhs, place)
        if node.rhs.type == "function":
            return max(left, self.applied(node.rhs, place) + 1)
        return max(left, self.node(node.rhs, place, consumed=not self.is_function(node.lhs, place)))

    def applied(self, node: Node, place: _Place) -> int:
        """A call on the right of `~>` gets one more argument in front."""
        probe = _Applied(node)
        return self.function(probe, place)

    def condition(self, node: Node, place: _Place) -> int:
        tested = self.node(node.condition, place.inner(building=False))
        return max(tested, self.node(node.then, place), self.node(node._else, place))

    def block(self, node: Node, place: _Place) -> int:
        inside = place.inner(scope=dict(place.scope))
        depth = 0
        for number, expression in enumerate(node.expressions, 1):
            if expression.type == "bind":
                depth = max(depth, self.bind(expression, inside, consumed=number < len(node.expressions)) + 1)
            else:
                depth = max(depth, self.node(expression, inside))
        return depth

    def transform(self, node: Node, place: _Place) -> int:
        inside = place.inner(top=False, loop=place.loop + 1)
        return max(self.node(part, inside) for part in (node.pattern, node.update, node.delete))

    def sort(self, node: Node, place: _Place) -> int:
        inside = place.inner(top=False, building=False, loop=place.loop + 1)
        return self.all((term.expression for term in node.terms), inside)

    def builds_pairs(self) -> bool:
        """Whether a function that cannot be interrupted may meet a list much longer than the input."""
        return self.has_range and not _LONG_WORK.isdisjoint(self.functions)

    def recursive(self) -> bool:
        """Whether a bound lambda can reach itself by calls."""
        for name in self.calls:
            seen: set[str] = set()
            waiting = set(self.calls.get(name, ()))
            while waiting:
                called = waiting.pop()
                if called == name:
                    return True
                if called not in seen:
                    seen.add(called)
                    waiting |= self.calls.get(called, set())
        return False

    def paths(self) -> int:
        """How often a value may be repeated through chains such as `$b := [$a, $a]`."""
        product = 1
        for name, count in self.reads.items():
            if name not in self.variables and name not in BUILTINS and name != "states" and count > 1:
                product *= count
        return product


class _Applied:
    """A view of a call that has the argument `~>` puts in front."""

    def __init__(self, node: Node) -> None:
        placeholder = copy.copy(node)
        placeholder.type = "operator"
        self.procedure = node.procedure
        self.arguments = [placeholder, *node.arguments]


_HANDLERS: Final[dict[str | None, Callable[[_Walk, Node, _Place], int]]] = {
    "path": _Walk.path,
    "name": _Walk.name,
    "wildcard": _Walk.wildcard,
    "descendant": _Walk.wildcard,
    "parent": _Walk.wildcard,
    "variable": _Walk.lone_variable,
    "unary": _Walk.unary,
    "binary": _Walk.binary,
    "bind": _Walk.bind,
    "function": _Walk.function,
    "partial": _Walk.function,
    "lambda": _Walk.lambda_,
    "apply": _Walk.apply,
    "condition": _Walk.condition,
    "block": _Walk.block,
    "transform": _Walk.transform,
    "sort": _Walk.sort,
}
