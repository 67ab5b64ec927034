from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn._json import Json
from asfn.errors import StateFailed
from asfn.language.paths import PathSyntaxError, compile_path, compile_result_path
from tests.language.surroundings import NOWHERE
from tests.language.test_numbers import documents


@pytest.mark.parametrize(
    ("path", "document", "result"),
    [
        ("$", {"a": 1}, "new"),
        ("$", None, "new"),
        ("$.r", {"a": 1}, {"a": 1, "r": "new"}),
        ("$.a", {"a": 1, "b": 2}, {"a": "new", "b": 2}),
        ("$['x y']", {}, {"x y": "new"}),
        ("$.a.b.c", {}, {"a": {"b": {"c": "new"}}}),
        ("$.a.b", {"a": {"c": 1}}, {"a": {"c": 1, "b": "new"}}),
        ("$.a[1]", {"a": [1, 2, 3]}, {"a": [1, "new", 3]}),
        ("$.a[-1]", {"a": [1, 2, 3]}, {"a": [1, 2, "new"]}),
        ("$[1].payload", [{}, {"id": 7}], [{}, {"id": 7, "payload": "new"}]),
        ("$[0][0]", [[1]], [["new"]]),
    ],
)
def test_the_result_is_placed_into_a_copy(path: str, document: Json, result: Json) -> None:
    before = copy.deepcopy(document)
    assert compile_result_path(path)(document, "new") == result
    assert document == before


def test_member_order_is_kept() -> None:
    placed = compile_result_path("$.b")({"a": 1, "b": 2, "c": 3}, 0)
    assert isinstance(placed, dict)
    assert list(placed) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("$.x", "text"),
        ("$.x", 5),
        ("$.x", None),
        ("$.x", [1, 2]),
        ("$.a.b", {"a": 1}),
        ("$.a.b", {"a": None}),
        ("$.a.b", {"a": [1]}),
        ("$[0]", {"a": 1}),
        ("$.a[0]", {}),
        ("$.a[3]", {"a": [1]}),
        ("$.a[-2]", {"a": [1]}),
        ("$.a[0]", {"a": "text"}),
    ],
)
def test_a_path_that_does_not_fit_the_document_is_a_conflict(path: str, document: Json) -> None:
    with pytest.raises(StateFailed) as caught:
        compile_result_path(path)(document, 1)
    assert caught.value.error == "States.ReferencePathConflict"
    assert not caught.value.prefixed


@pytest.mark.parametrize(
    ("path", "document", "cause"),
    [
        ("$.x", "input1", 'Unable to apply ReferencePath $.x to input "input1"'),
        ("$.a[0].b", None, "Unable to apply ReferencePath $.a[0].b to input null"),
        ("$.x", [1, {"b": 2}], 'Unable to apply step "x" to input [1,{"b":2}]'),
        ("$.a.b", {"a": "text"}, 'Unable to apply step "a" to input {"a":"text"}'),
        ("$.a.b", {"a": []}, 'Unable to apply step "b" to input {"a":[]}'),
        ("$.a[3]", {"a": [1]}, 'Unable to apply step "3" to input {"a":[1]}'),
    ],
)
def test_a_conflict_names_the_path_or_the_step_and_the_input(path: str, document: Json, cause: str) -> None:
    with pytest.raises(StateFailed) as caught:
        compile_result_path(path)(document, 1)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    "text", ["$$.x", "$$", "$v", "$v.x", "$.a[*]", "$..a", "$['a','b']", "$.a[1:2]", "a", "", "$."]
)
def test_only_reference_paths_into_the_document_are_result_paths(text: str) -> None:
    with pytest.raises(PathSyntaxError):
        compile_result_path(text)


_names = st.sampled_from(["a", "b", "c"])


@settings(max_examples=200, deadline=None)
@given(st.lists(_names, max_size=4), st.dictionaries(_names, documents, max_size=3), documents)
def test_what_was_placed_is_found_there_and_the_rest_is_shared(names: list[str], document: Json, value: Json) -> None:
    path = "$" + "".join(f".{name}" for name in names)
    before = copy.deepcopy(document)
    try:
        placed = compile_result_path(path)(document, value)
    except StateFailed:
        placed = None
        with pytest.raises(StateFailed):
            compile_result_path(path)(before, value)
    else:
        assert compile_path(path).select(placed, NOWHERE) is value
    assert document == before
    if names and isinstance(placed, dict) and isinstance(document, dict):
        assert all(placed[name] is document[name] for name in document if name != names[0])
