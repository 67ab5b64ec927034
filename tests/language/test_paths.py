from __future__ import annotations

import contextlib
import copy
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonpath_ng import jsonpath as ng

from asfn._json import Json
from asfn.language.path_operators import FUNCTIONS
from asfn.language.paths import (
    PathNotFound,
    PathSyntaxError,
    compile_path,
    compile_reference_path,
    is_variable_name,
)
from tests.language.surroundings import NOWHERE, Surroundings
from tests.language.test_numbers import documents

STORE: Json = {
    "book": [
        {"title": "A", "price": 8, "tags": ["x", "y"]},
        {"title": "B", "price": 12},
        {"title": "C", "isbn": "1", "price": 9},
    ],
    "bicycle": {"color": "red", "price": 20},
    "a.b": {"c d": 1},
    "it's": 2,
    "nothing": None,
    "text": "abc",
    "*": "star",
    "héllo": 3,
    "with-dash": 4,
}


def select(path: str, document: Json = STORE, environment: Surroundings = NOWHERE) -> Json:
    return compile_path(path).select(document, environment)


def reason(path: str, document: Json = STORE, environment: Surroundings = NOWHERE) -> str:
    with pytest.raises(PathNotFound) as caught:
        select(path, document, environment)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", STORE),
        ("$.text", "abc"),
        ("$['text']", "abc"),
        ('$["text"]', "abc"),
        ("$.bicycle.color", "red"),
        ("$['bicycle'].color", "red"),
        ("$.bicycle['color']", "red"),
        ("$.book[0].title", "A"),
        ("$.book[-1].title", "C"),
        ("$.book[0]['tags'][1]", "y"),
        ("$['a.b']['c d']", 1),
        ("$.a\\.b['c d']", 1),
        ("$.\\te\\xt", "abc"),
        ("$['it\\'s']", 2),
        ('$["it\'s"]', 2),
        ("$.nothing", None),
        ("$['*']", "star"),
        ("$.héllo", 3),
        ("$.h\\u00e9llo", 3),
        ("$.with-dash", 4),
        ("$[ 'text' ]", "abc"),
        ("$.book[ 1 ].price", 12),
        ("$.['text']", "abc"),
        ("$.book.[0].title", "A"),
        ("$.text  ", "abc"),
    ],
)
def test_reference_paths_select_one_value(path: str, value: Json) -> None:
    compiled = compile_path(path)
    assert compiled.select(STORE, NOWHERE) == value
    assert compiled.is_reference
    assert compiled.definite
    assert compiled.text == path


def test_a_backslash_before_another_sign_than_the_quote_stays_in_a_bracketed_name() -> None:
    # recorded on AWS: scenarios/test_escape_sequence_parsing ESCAPE_SEQUENCES_JSONPATH
    assert select("$['Te\\\"\"st']", {'Te\\""st': 1}) == 1


def test_surrogate_halves_in_a_name_make_one_character() -> None:
    assert select("$.\\uD83D\\uDE00", {"😀": 1}) == 1


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("$.book[*].title", ["A", "B", "C"]),
        ("$.book.*.title", ["A", "B", "C"]),
        ("$.bicycle.*", ["red", 20]),
        ("$.bicycle[*]", ["red", 20]),
        ("$.book[0,2].title", ["A", "C"]),
        ("$.book[0, -1].title", ["A", "C"]),
        ("$.book[1:].title", ["B", "C"]),
        ("$.book[:1].title", ["A"]),
        ("$.book[-1:].title", ["C"]),
        ("$.book[:-1].title", ["A", "B"]),
        ("$.book[0:2].title", ["A", "B"]),
        ("$.book[1:9].title", ["B", "C"]),
        ("$.book[0:2:2].title", ["A", "B"]),  # the step is ignored
        ("$.book[*].isbn", ["1"]),
        ("$..price", [8, 12, 9, 20]),
        ("$..book[0].title", ["A"]),
        ("$.book..tags", [["x", "y"]]),
        ("$..tags[*]", ["x", "y"]),
        ("$..[0]", [{"title": "A", "price": 8, "tags": ["x", "y"]}, "x"]),
        ("$..[0].title", ["A", "B", "C"]),  # Jayway's quirk: behind `..` only a last index counts
        ("$..[*].title", ["A", "B", "C"]),
        ("$..book[1:].title", ["B", "C"]),
        ("$.book[*]['title','price']", [{"title": "A", "price": 8}, {"title": "B", "price": 12},
                                        {"title": "C", "price": 9}]),
        ("$.book[*].['title', 'isbn']", [{"title": "A"}, {"title": "B"}, {"title": "C", "isbn": "1"}]),
        ("$..['isbn','price']", [{"isbn": "1", "price": 9}]),
        ("$['bicycle','nothing'].color", ["red"]),
        ("$.text[*]", []),
        ("$.text[0:1]", []),
        ("$.nothing..x", []),
        ("$.missing[*]", []),
        ("$.missing.deeper[1:].x", []),
        ("$.book[7:]", []),
        ("$.book[5,6]", []),
    ],
)  # fmt: skip
def test_indefinite_paths_always_select_a_list(path: str, values: Json) -> None:
    compiled = compile_path(path)
    assert compiled.select(STORE, NOWHERE) == values
    assert not compiled.definite
    assert not compiled.is_reference


def test_a_scan_visits_parents_before_children_in_document_order() -> None:
    document: Json = {"x": 1, "a": {"x": 2, "b": [{"x": 3}, 7]}, "c": {"x": 4}}
    assert select("$..x", document) == [1, 2, 3, 4]
    assert select("$..*", {"a": [1, {"b": 2}]}) == [[1, {"b": 2}], 1, {"b": 2}, 2]


def test_several_names_at_the_end_of_a_definite_path_make_one_object() -> None:
    assert select("$.bicycle['price','color']") == {"price": 20, "color": "red"}
    assert select("$.bicycle['color','wheels']") == {"color": "red"}
    assert compile_path("$['a','b']").definite
    assert not compile_path("$['a','b']").is_reference
    assert "['a','b'] in path $['text'] but found 'java.lang.String'" in reason("$.text['a','b']")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.book.length()", 3),
        ("$.bicycle.length()", 2),
        ("$.text.length()", None),
        ("$..book.length()", 3),
        ("$..price.length()", 0),
        ("$..tags.length()", 2),
        ("$..price.sum()", 49.0),
        ("$..price.max()", 20.0),
        ("$.book[*].tags.length()", [2]),
        ("$.bicycle.keys()", ["color", "price"]),
        ("$.book[0].tags.first()", "x"),
        ("$.book[0].tags.last()", "y"),
        ("$.book[0].tags.index(-2)", "x"),
        ("$.book[0].tags.append('z', $.text)", ["x", "y", "z", "abc"]),
        ("$.concat($.text, '-', $.bicycle.color)", "abc-red"),
    ],
)
def test_functions_apply_at_the_end_of_a_path(path: str, value: Json) -> None:
    assert select(path) == value


def test_a_function_that_cannot_be_applied_selects_nothing() -> None:
    assert reason("$.text.max()") == "Aggregation function attempted to calculate value using empty array"
    assert reason("$.book.index(9)") == "there is no element 9"
    assert reason("$.book.append($.missing)") == "an argument of append() selects nothing"
    assert reason("$.missing.length()") == "No results for path: $['missing']"


def test_paths_read_the_context_object_and_variables() -> None:
    environment = Surroundings(context={"State": {"Name": "S"}}, variables={"order": {"id": [7]}, "ñ": 1})
    assert select("$$", None, environment) == {"State": {"Name": "S"}}
    assert select("$$.State.Name", None, environment) == "S"
    assert select("$$['State']['Name'] ", None, environment) == "S"
    assert select("$order", None, environment) == {"id": [7]}
    assert select("$order.id[0]", None, environment) == 7
    assert select("$order['id'][0]", None, environment) == 7
    assert select("$order.*", None, environment) == [[7]]
    assert select("$ñ", None, environment) == 1
    assert compile_path("$order.id").variable == "order"
    assert compile_path("$$.x").root == "$$"
    assert compile_path("$.x").variable is None


def test_missing_parts_have_jayways_reasons() -> None:
    assert reason("$.x") == "No results for path: $['x']"
    assert reason("$.no.such.path") == "Missing property in path $['no']"
    assert reason("$.bicycle.no.such") == "Missing property in path $['bicycle']['no']"
    assert reason("$.bicycle.no") == "No results for path: $['bicycle']['no']"
    assert reason("$.book[0].no.x") == "Missing property in path $['book'][0]['no']"
    assert reason("$.book[9]") == "No results for path: $['book'][9]"
    assert reason("$.book[-9]") == "No results for path: $['book'][-9]"
    assert reason("$.book[9].title") == "No results for path: $['book'][9]['title']"
    assert reason("$$.x.y") == "Missing property in path $['x']"


def test_misused_parts_have_jayways_reasons() -> None:
    assert reason("$.text[0]") == "Filter: [0] can only be applied to arrays. Current context is: abc"
    assert reason("$.bicycle[0].x") == (
        "Filter: [0]['x'] can only be applied to arrays. Current context is: {color=red, price=20}"
    )
    assert reason("$.nothing[0]") == "The path $['nothing'] is null"
    assert reason("$.text.x").startswith(
        "Expected to find an object with property ['x'] in path $['text'] but found 'java.lang.String'."
    )
    assert "but found 'null'" in reason("$.nothing.x")
    assert "but found 'net.minidev.json.JSONArray'" in reason("$.book.title")
    assert "but found 'java.lang.Integer'" in reason("$.a", 1)
    assert "but found 'java.lang.Boolean'" in reason("$.a", True)


def test_a_failure_tells_a_large_index_and_a_misused_index_from_missing_members() -> None:
    flags = []
    for path in ("$.book[9]", "$.book[9].x", "$.text[0]", "$.x"):
        with pytest.raises(PathNotFound) as caught:
            select(path)
        flags.append((caught.value.is_index, caught.value.is_misuse))
    assert flags == [(True, False), (False, False), (False, True), (False, False)]


def test_a_variable_without_a_value_is_not_found() -> None:
    assert "$order" in reason("$order.id", None, Surroundings())


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "x", "a.b", ".guid", "..guid", "()", " $.x", "@.x", "$.", "$..", "$...", "$.a.", "$.a..", "$...a",
        "$.a b", "$ .a", "$[", "$[]", "$['a'", "$['a]", "$['a',]", "$['a' 'b']", "$[a]", "$[1.5]", "$[1,]", "$[,1]",
        "$[:]", "$[::2]", "$[1:2:3:4]", "$[99999999999]", "$.a[?]", "$.a[?()]", "$.a[?(@.b ==)]", "$.a[?(@.b == 1]",
        "$.a[?(1)]", "$.a[?(@.b == 1) x]", "$.a[?(@.b ~ 1)]", "$.a[?(@.b =~ 'x')]", "$.a[?(@.b == /x/)]",
        "$.a[?(@.b =~ /(/)]", "$.a[?(@.b =~ /x)]", "$.a[?(@.b && )]", "$.a[?(@.b == [1)]", "$.a[?(@.b == 'x)]",
        "$.a[?(@.b == 01x!)]", "$.a)", "$.a]", "$.a()", "$.a.length().b", "$.a.length(", "$.a.nosuch()",
        "$.length(1 2)", "$1", "$a-b", "$$x", "$a b", "$.a\\", "$.a\tb", "$.a\nb", "$[\\", "$.*a", "$.a[*", "$['a",
        "States.Format('{}', $.x)", "$" + "[0]" * 101, "$." + "x" * 9_000, "$" + "x" * 81,
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(PathSyntaxError):
        compile_path(text)


def test_a_refusal_names_its_column() -> None:
    with pytest.raises(PathSyntaxError, match=r"at column 5 of '\$\.a\.b\[x\]'|at column 6") as caught:
        compile_path("$.a.b[x]")
    assert caught.value.column == 6


def test_deeply_nested_filters_are_refused() -> None:
    for depth in (30, 1_000):
        with pytest.raises(PathSyntaxError, match="nested too deeply"):
            compile_path("$" + "[?(@" * depth + ".x" + ")]" * depth)
        with pytest.raises(PathSyntaxError, match="nested too deeply"):
            compile_path("$[?(" + "(" * depth + "@.x" + ")" * depth + ")]")
        with pytest.raises(PathSyntaxError, match="nested too deeply"):
            compile_path("$[?(" + "!" * depth + "@.x)]")


def test_a_path_that_would_visit_too_many_values_is_given_up() -> None:
    wide: Json = {f"k{number}": {"a": {"b": {"c": number}}} for number in range(3_000)}
    assert "too many values" in reason("$..*..*..*..*..nothing", {str(at): wide for at in range(8)})


def test_a_document_nested_deeply_can_be_scanned() -> None:
    document: Json = 1
    for _ in range(50_000):
        document = {"a": document}
    found = select("$..nothing", document)
    assert found == []
    scanned = select("$..a", document)
    assert isinstance(scanned, list)
    assert len(scanned) == 50_000


@pytest.mark.parametrize("text", ["$.a[*]", "$..a", "$.a[0,1]", "$['a','b']", "$.a[1:]", "$[?(@.a)]", "$.length()"])
def test_a_reference_path_names_one_node(text: str) -> None:
    with pytest.raises(PathSyntaxError, match="not a reference path"):
        compile_reference_path(text)


def test_a_reference_path_may_be_kept_to_the_document() -> None:
    assert compile_reference_path("$$.a[0]").root == "$$"
    assert compile_reference_path("$v.a").variable == "v"
    with pytest.raises(PathSyntaxError, match="context object"):
        compile_reference_path("$$.a", allow_context=False)
    with pytest.raises(PathSyntaxError, match="variable"):
        compile_reference_path("$v.a", allow_variable=False)


@pytest.mark.parametrize(
    ("name", "valid"),
    [("x", True), ("x1_y", True), ("ñandú", True), ("", False), ("1x", False), ("x.y", False), ("x" * 81, False)],
)
def test_variable_names_are_identifiers_of_at_most_80_characters(name: str, valid: bool) -> None:
    assert is_variable_name(name) is valid


# Differential: jsonpath-ng evaluates the same steps in its own way.

_names = st.sampled_from(["a", "b", "c d", "é", "x.y", "0"])
_indexes = st.integers(-3, 3)
_values: st.SearchStrategy[Json] = st.recursive(
    st.integers(0, 9) | st.sampled_from(["s", "", None, True]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_names | _indexes, max_size=4), _values)
def test_reference_paths_agree_with_jsonpath_ng(keys: list[str | int], document: Json) -> None:
    node: ng.JSONPath = ng.Root()
    text = "$"
    for key in keys:
        node = ng.Child(node, ng.Fields(key) if isinstance(key, str) else ng.Index(key))
        text += f"['{key}']" if isinstance(key, str) else f"[{key}]"
    found = [match.value for match in node.find(document)] if _indexes_only_lists(keys, document) else []
    if found:
        assert select(text, document) == found[0]
    else:
        assert reason(text, document)


def _indexes_only_lists(keys: list[str | int], document: Json) -> bool:
    """jsonpath-ng indexes texts and single values too; Jayway and AWS do not."""
    for key in keys:
        if isinstance(key, int):
            if not isinstance(document, list) or not -len(document) <= key < len(document):
                return False
            document = document[key]
        else:
            if not isinstance(document, dict) or key not in document:
                return False
            document = document[key]
    return True


_steps = _names.map(lambda name: f"['{name}']") | st.sampled_from(["[*]", "..*", "..a"])
_wild = st.lists(_steps, min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(_wild, _values)
def test_wildcards_and_scans_agree_with_a_plain_walk(parts: list[str], document: Json) -> None:
    found = [document]
    for part in parts:
        if part.startswith(".."):
            found = [below for value in found for below in _descendants(value)]
        name = {"[*]": None, "..*": None, "..a": "a"}.get(part, part[2:-2])
        found = [child for value in found for child in _children(value, name)]
    path = compile_path("$" + "".join(parts))
    expected: Json = found
    if path.definite:
        if found:
            assert select(path.text, document) == found[0]
        else:
            assert reason(path.text, document)
    else:
        assert select(path.text, document) == expected


def _descendants(value: Json) -> list[Json]:
    below: list[Json] = [value]
    for child in _children(value, None):
        below.extend(_descendants(child))
    return below


def _children(value: Json, name: str | None) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values()) if name is None else [value[name]] if name in value else []
    return list(value) if isinstance(value, list) and name is None else []


_fragments = st.sampled_from(
    ["$", "$$", "$v", ".", "..", "a", "*", "['", "']", "[", "]", "0", "-1", ":", ",", "[?(", ")]", "@", ".a", "==",
     "&&", "!", "'x'", "1", " ", "\\", "length()", "(", ")", "=~", "/x/i", "in", "[1,2]", "\ud800", "é", '"', "{", "}"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(_fragments, max_size=14).map("".join) | st.text(max_size=30).map("$".__add__), documents)
def test_any_text_is_a_path_or_refused_and_evaluation_only_fails_as_documented(text: str, document: Json) -> None:
    try:
        path = compile_path(text)
    except PathSyntaxError:
        return
    before = copy.deepcopy(document)
    with contextlib.suppress(PathNotFound):
        value = path.select(document, Surroundings(context=document, variables={"v": document}))
        assert path.definite or isinstance(value, list)
    assert document == before


def test_every_function_of_the_grammar_can_be_evaluated() -> None:
    for name in FUNCTIONS:
        assert compile_path(f"$.{name}(1)").definite
    with pytest.raises(PathSyntaxError, match="no function"):
        compile_path("$.unknown()")


def test_jsonpath_ng_is_loaded_only_when_a_path_needs_it() -> None:
    program = (
        "import sys; from asfn.language import paths, templates, choice;"
        "paths.compile_path('$.a.b[0]'); paths.compile_path(\"$['a','b']\");"
        "assert 'jsonpath_ng' not in sys.modules; paths.compile_path('$.a[*]'); assert 'jsonpath_ng' in sys.modules;"
        "assert 'jsonpath_ng.ext' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
