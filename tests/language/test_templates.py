from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn._json import Json
from asfn.errors import StateFailed
from asfn.language.templates import TemplateSyntaxError, compile_template, compile_text_source
from tests.language.surroundings import NOWHERE, Surroundings
from tests.language.test_numbers import documents


def fill(template: Json, document: Json = None, environment: Surroundings = NOWHERE) -> Json:
    return compile_template(template).evaluate(document, environment)


def failure(template: Json, document: Json = None, environment: Surroundings = NOWHERE) -> StateFailed:
    with pytest.raises(StateFailed) as caught:
        fill(template, document, environment)
    assert caught.value.error == "States.Runtime"
    return caught.value


def test_members_that_end_in_dollar_are_replaced_and_lose_the_ending() -> None:
    template: Json = {
        "path.$": "$.a.b",
        "whole.$": "$",
        "list.$": "$.l[*]",
        "call.$": "States.Format('<{}>', $.a.b)",
        "context.$": "$$.State.Name",
        "variable.$": "$v.x",
        "plain": 1,
    }
    document: Json = {"a": {"b": 1}, "l": [1, 2]}
    environment = Surroundings(context={"State": {"Name": "S"}}, variables={"v": {"x": [7]}})
    filled = fill(template, document, environment)
    assert filled == {
        "path": 1, "whole": document, "list": [1, 2], "call": "<1>", "context": "S", "variable": [7], "plain": 1,
    }  # fmt: skip
    assert isinstance(filled, dict)
    assert list(filled) == ["path", "whole", "list", "call", "context", "variable", "plain"]


def test_templates_are_filled_at_every_depth_of_objects_and_lists() -> None:
    template: Json = {"o": {"deep": [{"x.$": "$.v"}, "$.v", ["$.v", {"y": {"z.$": "$.v"}}]]}, "k": [1]}
    assert fill(template, {"v": 5}) == {"o": {"deep": [{"x": 5}, "$.v", ["$.v", {"y": {"z": 5}}]]}, "k": [1]}


@pytest.mark.parametrize("template", [None, True, 3, "$.x", "$$", "{% $x %}", [], ["$.x"], {}, {"a": "$.x", "b.c": 1}])
def test_everything_else_is_literal_and_shared(template: Json) -> None:
    compiled = compile_template(template)
    assert compiled.is_literal
    assert compiled.paths == ()
    assert compiled.evaluate({"x": 1}, NOWHERE) is template


def test_literal_parts_are_shared_by_all_evaluations_and_never_changed() -> None:
    template: Json = {"shared": {"l": [1]}, "list": [{"same": 1}, {"x.$": "$"}], "x.$": "$"}
    before = copy.deepcopy(template)
    compiled = compile_template(template)
    first, second = compiled.evaluate(1, NOWHERE), compiled.evaluate(2, NOWHERE)
    assert first == {"shared": {"l": [1]}, "list": [{"same": 1}, {"x": 1}], "x": 1}
    assert second == {"shared": {"l": [1]}, "list": [{"same": 1}, {"x": 2}], "x": 2}
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["shared"] is second["shared"]
    assert first["list"] is not second["list"]
    assert template == before


def test_a_template_knows_all_its_paths() -> None:
    compiled = compile_template({"a.$": "$.x", "b": [{"c.$": "States.Array($v.y, $$.z)"}]})
    assert [path.text for path in compiled.paths] == ["$.x", "$v.y", "$$.z"]
    assert not compiled.is_literal


def test_a_call_without_paths_is_not_literal() -> None:
    compiled = compile_template({"id.$": "States.UUID()"})
    assert not compiled.is_literal
    assert compiled.evaluate(None, NOWHERE) == {"id": NOWHERE.uuid()}


def test_a_path_that_selects_nothing_names_the_last_key_the_path_and_the_input() -> None:
    assert failure({"o": {"value.$": "$.no.such"}}, {"int-literal": 0}).cause == (
        "The JSONPath '$.no.such' specified for the field 'value.$' "
        "could not be found in the input '{\"int-literal\":0}'"
    )


def test_a_missing_part_of_the_context_object_shows_the_context_object() -> None:
    environment = Surroundings(context={"State": {}})
    assert failure({"value.$": "$$.Execution.Input.no"}, {"a": 1}, environment).cause == (
        "The JSONPath '$$.Execution.Input.no' specified for the field 'value.$' "
        "could not be found in the input '{\"State\":{}}'"
    )


def test_an_unassigned_variable_is_not_found() -> None:
    assert failure({"value.$": "$v.x"}, {"a": 1}).cause.startswith(
        "The JSONPath '$v.x' specified for the field 'value.$'"
    )


def test_an_index_beyond_the_list_makes_null_in_a_template() -> None:
    document: Json = {"items": [1, 2]}
    template: Json = {"a.$": "$.items[5]", "b.$": "$.items[1]", "c.$": "$.items[-3]", "d": 4}
    assert fill(template, document) == {"a": None, "b": 2, "c": None, "d": 4}
    assert "'$.items[5].x'" in failure({"a.$": "$.items[5].x"}, document).cause


def test_an_index_of_something_else_than_a_list_has_jayways_sentence() -> None:
    assert failure({"a.$": "$.x[0]"}, {"x": 1}).cause == (
        "Filter: [0] can only be applied to arrays. Current context is: 1"
    )


def test_the_first_failing_member_in_order_is_reported() -> None:
    assert "'b.$'" in failure({"a.$": "$.x", "b.$": "$.no", "c.$": "$.no"}, {"x": 1}).cause
    assert "'$.no'" in failure({"a.$": "States.Format('{}', $.no)", "b.$": "$.other"}, {}).cause


@pytest.mark.parametrize(
    ("template", "key", "place"),
    [
        ({"x.$": "no path"}, "x.$", ()),
        ({"x.$": " $.a"}, "x.$", ()),
        ({"x.$": ""}, "x.$", ()),
        ({"x.$": "$.a["}, "x.$", ()),
        ({"x.$": "States.Nope()"}, "x.$", ()),
        ({"x.$": 1}, "x.$", ()),
        ({"x.$": {"a.$": "$.a"}}, "x.$", ()),
        ({"o": [1, {"y.$": None}]}, "y.$", ("o", 1)),
        ({"parsed.$": 'States.StringToJson(\'{"text":"An \\"escaped\\" here"}\')'}, "parsed.$", ()),
    ],
)
def test_a_dollar_member_must_hold_a_path_or_a_call(template: Json, key: str, place: tuple[str | int, ...]) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile_template(template)
    assert str(caught.value) == (
        f"The value for the field '{key}' must be a valid JSONPath or a valid intrinsic function call"
    )
    assert caught.value.key == key
    assert caught.value.place == place


@pytest.mark.parametrize("template", [{"x": 1, "x.$": "$"}, {"x.$": "$", "x": 1}, [{"o": {"x.$": "$", "x": {}}}]])
def test_two_members_may_not_become_one(template: Json) -> None:
    with pytest.raises(TemplateSyntaxError, match="given twice"):
        compile_template(template)


def test_templates_nested_too_deeply_are_refused() -> None:
    for depth in (300, 100_000):
        template: Json = {"x.$": "$"}
        for _ in range(depth):
            template = [template]
        with pytest.raises(TemplateSyntaxError, match="nest"):
            compile_template(template)


# ErrorPath and CausePath.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$.e", "E"),
        ("$$.State.Name", "S"),
        ("$v[0]", "V"),
        ("States.Format('{}!', $.e)", "E!"),
        ("States.JsonToString($)", '{"e":"E","n":1}'),
        ("States.ArrayGetItem(States.Array($.e), 0)", "E"),
        ("States.Hash('', 'MD5')", "d41d8cd98f00b204e9800998ecf8427e"),
        ("States.Base64Decode(States.Base64Encode($.e))", "E"),
        ("States.UUID()", NOWHERE.uuid()),
    ],
)
def test_a_text_source_gives_a_text(text: str, value: str) -> None:
    environment = Surroundings(context={"State": {"Name": "S"}}, variables={"v": ["V"]})
    assert compile_text_source(text, "ErrorPath").evaluate({"e": "E", "n": 1}, environment) == value


def test_a_text_source_that_selects_nothing_names_its_field_without_ending() -> None:
    source = compile_text_source("$.NoSuchCausePath", "CausePath")
    with pytest.raises(StateFailed) as caught:
        source.evaluate({"Error": "error-value"}, NOWHERE)
    assert caught.value.cause == (
        "The JSONPath '$.NoSuchCausePath' specified for the field 'CausePath' could not be found in the input "
        '\'{"Error":"error-value"}\''
    )


def test_a_text_source_fails_when_it_gives_no_text() -> None:
    for text in ("$.n", "States.ArrayGetItem($.l, 0)", "$.l[5]"):
        with pytest.raises(StateFailed, match="ErrorPath"):
            compile_text_source(text, "ErrorPath").evaluate({"n": 1, "l": [2]}, NOWHERE)


@pytest.mark.parametrize("text", ["", "x", "$.a[*]", "$..a", "States.Array()", "States.MathAdd(1, 2)", "States.Nope()"])
def test_other_texts_are_no_text_source(text: str) -> None:
    with pytest.raises(TemplateSyntaxError, match="field 'ErrorPath' must be a valid JSONPath"):
        compile_text_source(text, "ErrorPath")


_keys = st.sampled_from(["a", "b", "a.$", "b.$", ".$", "c"])
_sources = st.sampled_from(["$", "$.a", "$.a[0]", "$$", "$v", "States.Array($.a)", "bad"]) | documents
_templates = st.recursive(
    _sources, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4), max_leaves=10
)


@settings(max_examples=200, deadline=None)
@given(_templates, documents)
def test_any_template_compiles_or_is_refused_and_evaluation_only_fails_as_documented(
    template: Json, document: Json
) -> None:
    try:
        compiled = compile_template(template)
    except TemplateSyntaxError:
        return
    before = copy.deepcopy((template, document))
    try:
        compiled.evaluate(document, Surroundings(variables={"v": 1}))
    except StateFailed as failed:
        assert failed.error == "States.Runtime"  # noqa: PT017  success is as good
    assert (template, document) == before
