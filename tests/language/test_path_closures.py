"""The closures of paths against `find` of the trees they are made of, and the bound on what one evaluation costs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asfn._json import Json
from asfn.language.path_closures import compile_values
from asfn.language.path_grammar import PathSyntaxError, parse_steps
from asfn.language.path_nodes import TooManyVisits, find_values
from asfn.language.path_operators import CannotApply
from asfn.language.path_steps import Step
from asfn.language.paths import PathNotFound, compile_path
from tests.language.surroundings import NOWHERE

_names = st.sampled_from(["a", "b", "c", "*", "0"])
_documents: st.SearchStrategy[Json] = st.recursive(
    st.integers(0, 9) | st.sampled_from(["s", "a", "9", "", None, True, False, 2.5, 9.0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=25,
)
_index = st.integers(-3, 3).map(str)


def _joined(parts: st.SearchStrategy[str], by: str) -> st.SearchStrategy[str]:
    return st.lists(parts, min_size=1, max_size=3).map(by.join)


_named = _names.map(lambda name: f"['{name}']") | st.sampled_from([".a", ".b"])
_bracket = (
    _joined(_names.map(lambda name: f"'{name}'"), ",").map(lambda names: f"[{names}]")
    | _joined(_index, ",").map(lambda indexes: f"[{indexes}]")
    | st.tuples(_index | st.just(""), _index).map(lambda bounds: f"[{bounds[0]}:{bounds[1]}]")
    | _index.map(lambda start: f"[{start}:]")
    | st.just("[*]")
)
_functions = st.sampled_from(
    ["length()", "size()", "sum()", "max(1)", "keys()", "first()", "last()", "concat('x')", "append($.a)", "index(0)"]
)


def _filters(steps: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    route = st.tuples(st.sampled_from("@@@$"), st.lists(steps, max_size=2).map("".join)).map("".join)
    called = st.tuples(route, _functions).map(".".join)
    constant = st.sampled_from(["1", "2.5", "'a'", "'9'", "9", "true", "null", "['a', 9]", "[]", "{}", "7.0"])
    operand = route | constant | called
    sign = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "===", "!==", "in", "nin", "contains", "size", "empty",
                            "all", "anyof", "noneof", "subsetof"])  # fmt: skip
    compared = st.tuples(operand, sign, operand).map(" ".join)
    matched = route.map(lambda left: f"{left} =~ /[a9].*/i")
    test = st.recursive(
        route | compared | matched,
        lambda inner: inner.map(lambda one: f"!({one})") | _joined(inner, " && ") | _joined(inner, " || "),
        max_leaves=4,
    )
    return test.map(lambda text: f"[?({text})]")


_plain = _named | _bracket
_step = _plain | _filters(_plain) | st.one_of(_bracket, _filters(_plain), _names).map("..{}".format)
_paths = st.tuples(
    st.lists(_step, min_size=1, max_size=4).map("".join), st.just("") | _functions.map(".{}".format)
).map("".join)


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_paths, _documents)
def test_the_closures_of_a_path_give_what_find_of_its_nodes_gives(text: str, document: Json) -> None:
    try:
        steps = parse_steps(text, 0)
    except PathSyntaxError:
        return
    assert repr(_found(steps, document, compiled=True)) == repr(_found(steps, document, compiled=False))


def _found(steps: tuple[Step, ...], document: Json, *, compiled: bool) -> object:
    try:
        return compile_values(steps)(document) if compiled else find_values(steps, document)
    except CannotApply as error:
        return str(error)


@pytest.mark.parametrize(
    "text",
    [
        "['a'].b", ".b[0,1]", "[*].a", "..a", "..*", "..[0]", "..[*].b", "..['a','b']", "..['a','b'].c", "..a..b",
        "[1:3]", "[-2:]", "[:-1]", "[-1:3]", "[0,-1]", "['a','b'][*]", "..[?(@.a)]", "..[?(@.a > 1)].b", "..b[1:2]",
        "..a[0]", "[?(@.a == 'x')]", "[?(@.a == $[0].a)]", "[?(@.c[*] contains 2)]", "..a.sum()", "..c.length()",
        "[*].c.length()", "..c.append($..a)", "[?(@.c.length() > 1)].a", "..[0].a", "..b[?(@ == 'x')]",
        "[?(!@.a || @.a != 1)]",
        "..[?(@.b == 1 || @.a == 'x')]", "..[?(@.b >= 1 || @.c == 4)]", "..[?(@.a == '1')]", "..[?(@.a < 'y')]",
    ],
)  # fmt: skip
def test_each_shape_of_a_path_finds_something_and_the_same_by_both_ways(text: str) -> None:
    inner: Json = {"a": "x", "b": ["x", {"a": 1, "b": True, "c": [[1], 2, 3]}], "c": [1, 2]}
    lists: Json = [inner, {"a": [{"a": "x", "c": 4}], "b": "x", "c": {"a": 5, "b": 6, "c": "x"}}, [inner], 9]
    documents: list[Json] = [inner, lists, {"a": inner, "b": [{"a": "x"}], "c": [lists]}]
    steps = parse_steps(text, 0)
    given = [_found(steps, document, compiled=True) for document in documents]
    assert given == [_found(steps, document, compiled=False) for document in documents]
    assert any(given), "nothing was compared"


def _nested(name: str, depth: int) -> Json:
    document: Json = 1
    for _ in range(depth):
        document = {name: document}
    return document


_NUMBERS: Json = list(range(3_000))


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("$" + "['a','a']" * 20, _nested("a", 30)),
        ("$" + "[0,0]" * 20, [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]),
        ("$[" + "0," * 3_000 + "0][" + "0," * 900 + "0]", [[0]]),
        ("$..a..a..a..a.b", _nested("a", 120)),
        ("$[*].append($..*)", _NUMBERS),
        ("$[*].append($[*].append($[*]))", list(range(300))),
        ("$[" + "0," * 3_500 + "0].sum()", [_NUMBERS]),
        ("$[?(@ in $)]", _NUMBERS),
        ("$[?(" + "@==-1||" * 1_100 + "@==-1)]", list(range(5_000))),
        ("$[?(@" + ".a" * 90 + ("||@" + ".a" * 90) * 40 + ")]", [_nested("a", 90)] * 2_000),
        ("$[?($..* == 1)]", _NUMBERS),
        ("$[-20000000:10]", _NUMBERS),
    ],
)
def test_a_hostile_path_is_given_up(text: str, document: Json) -> None:
    """Without a count of its own each of these would do millions of steps, and a longer one would never end."""
    with pytest.raises(PathNotFound, match="visits too many values"):
        compile_path(text).select(document, NOWHERE)


def test_both_ways_count_what_they_visit_alike() -> None:
    """A test of 1,101 comparisons counts as 138 visits for each element; half a million are allowed."""
    steps = parse_steps("[?(" + "@==1||" * 1_100 + "@==1)]", 0)
    most = 500_000 // 138
    for compiled in (True, False):
        assert _found(steps, [1] * most, compiled=compiled) == [1] * most
        with pytest.raises(TooManyVisits):
            _found(steps, [1] * (most + 1), compiled=compiled)
