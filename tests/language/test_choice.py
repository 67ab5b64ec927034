from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn._json import Json, JsonObject
from asfn.errors import StateFailed
from asfn.language.choice import COMPARISONS, ChoiceSyntaxError, compile_comparison, rule_paths
from tests.language.surroundings import NOWHERE, Surroundings
from tests.language.test_numbers import documents


def holds(rule: JsonObject, document: Json, environment: Surroundings = NOWHERE) -> bool:
    return compile_comparison(rule)(document, environment)


EARLY, LATE = "2016-08-18T17:33:00Z", "2016-08-18T17:33:00.000000001Z"
_ORDER = {
    "Equals": (False, True, False),
    "LessThan": (True, False, False),
    "GreaterThan": (False, False, True),
    "LessThanEquals": (True, True, False),
    "GreaterThanEquals": (False, True, True),
}


@pytest.mark.parametrize("relation", list(_ORDER))
@pytest.mark.parametrize(
    ("kind", "low", "middle", "high"),
    [
        ("String", "AB", "B", "BA"),
        ("String", "", "a", "b"),
        ("String", "Z", "a", "é"),
        ("String", "😀", "\uffee", "\uffef"),  # by UTF-16 code unit
        ("Numeric", -1, 0, 0.5),
        ("Numeric", 2**53, 2**53 + 1, 2**53 + 2),
        ("Timestamp", EARLY, LATE, "2016-08-18T18:33:01+01:00"),
    ],
)
def test_comparisons_order_values(relation: str, kind: str, low: Json, middle: Json, high: Json) -> None:
    name = kind + relation
    for value, outcome in zip((low, middle, high), _ORDER[relation], strict=True):
        assert holds({"Variable": "$.v", name: middle}, {"v": value}) is outcome
        assert holds({"Variable": "$.v", f"{name}Path": "$.o"}, {"v": value, "o": middle}) is outcome


def test_booleans_are_only_compared_for_equality() -> None:
    assert holds({"Variable": "$.v", "BooleanEquals": True}, {"v": True})
    assert not holds({"Variable": "$.v", "BooleanEquals": True}, {"v": False})
    assert holds({"Variable": "$.v", "BooleanEqualsPath": "$.o"}, {"v": False, "o": False})
    assert "BooleanLessThan" not in COMPARISONS


def test_equal_instants_in_different_zones_are_equal() -> None:
    assert holds({"Variable": "$", "TimestampEquals": EARLY}, "2016-08-18T19:33:00.000+02:00")


def test_numbers_are_equal_by_value() -> None:
    assert holds({"Variable": "$", "NumericEquals": 1}, 1.0)
    assert holds({"Variable": "$", "NumericEquals": 0.0}, 0)
    assert not holds({"Variable": "$", "NumericEquals": 2**53 + 1}, float(2**53))


_OF_EACH_TYPE: dict[str, Json] = {"String": "x", "Numeric": 1, "Boolean": True, "Timestamp": EARLY}
_ANY: list[Json] = [None, True, False, 0, 1, 1.0, "", "1", "true", "x", EARLY, "2016-08-18", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("kind", list(_OF_EACH_TYPE))
@pytest.mark.parametrize("value", _ANY)
def test_values_of_another_type_are_never_equal_and_never_an_error(kind: str, value: Json) -> None:
    fits = {
        "String": isinstance(value, str),
        "Numeric": isinstance(value, (int, float)) and not isinstance(value, bool),
        "Boolean": isinstance(value, bool),
        "Timestamp": value == EARLY,
    }[kind]
    operand = _OF_EACH_TYPE[kind]
    for rule in ({f"{kind}Equals": operand}, {f"{kind}EqualsPath": "$.o"}):
        outcome = holds({"Variable": "$.v", **rule}, {"v": value, "o": operand})
        assert outcome is (fits and value == operand and not (kind == "Numeric" and value is True))
    if kind != "Boolean" and not fits:
        for relation in ("LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals"):
            assert not holds({"Variable": "$.v", f"{kind}{relation}": operand}, {"v": value})
            assert not holds({"Variable": "$.o", f"{kind}{relation}Path": "$.v"}, {"v": value, "o": operand})


def test_null_equals_nothing_not_even_null() -> None:
    for kind in _OF_EACH_TYPE:
        assert not holds({"Variable": "$.v", f"{kind}EqualsPath": "$.v"}, {"v": None})


@pytest.mark.parametrize("value", _ANY)
def test_type_tests_are_compared_with_the_literal(value: Json) -> None:
    expected = {
        "IsNull": value is None,
        "IsPresent": True,
        "IsNumeric": isinstance(value, (int, float)) and not isinstance(value, bool),
        "IsString": isinstance(value, str),
        "IsBoolean": isinstance(value, bool),
        "IsTimestamp": value == EARLY,
    }
    for name, outcome in expected.items():
        assert holds({"Variable": "$.v", name: True}, {"v": value}) is outcome
        assert holds({"Variable": "$.v", name: False}, {"v": value}) is not outcome


def test_presence_of_what_is_missing_is_false_and_no_error() -> None:
    assert not holds({"Variable": "$.a.b", "IsPresent": True}, {})
    assert holds({"Variable": "$.a.b", "IsPresent": False}, {})
    assert holds({"Variable": "$.a[3]", "IsPresent": False}, {"a": [1]})
    assert holds({"Variable": "$.a[0]", "IsPresent": False}, {"a": "text"})
    assert holds({"Variable": "$v", "IsPresent": False}, {})
    assert holds({"Variable": "$$.Task.Token", "IsPresent": False}, {})


@pytest.mark.parametrize(
    "rule",
    [
        {"StringEquals": "x"},
        {"StringMatches": "*"},
        {"NumericLessThan": 1},
        {"IsNull": True},
        {"IsString": False},
        {"IsTimestamp": True},
        {"StringEqualsPath": "$.there"},
    ],
)
def test_a_missing_variable_is_an_error_of_every_other_comparison(rule: JsonObject) -> None:
    with pytest.raises(StateFailed) as caught:
        holds({"Variable": "$.no.such", **rule}, {"there": "x"})
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause == (
        "Invalid path '$.no.such': The choice state's condition path references an invalid value."
    )


def test_a_missing_operand_is_an_error_that_names_the_operand() -> None:
    with pytest.raises(StateFailed, match=r"Invalid path '\$\.no'"):
        holds({"Variable": "$.there", "NumericEqualsPath": "$.no"}, {"there": 1})


def test_variables_and_context_may_be_compared() -> None:
    environment = Surroundings(context={"State": {"Name": "S"}}, variables={"v": [1, 2]})
    assert holds({"Variable": "$$.State.Name", "StringEquals": "S"}, None, environment)
    assert holds({"Variable": "$v[1]", "NumericGreaterThanPath": "$v[0]"}, None, environment)


def test_an_indefinite_variable_is_compared_as_a_list() -> None:
    assert not holds({"Variable": "$.a[*]", "NumericEquals": 1}, {"a": [1]})
    assert holds({"Variable": "$.a[*]", "IsPresent": True}, {"a": []})


@pytest.mark.parametrize(
    ("pattern", "matching", "failing"),
    [
        ("x", ["x"], ["", "xx", "X"]),
        ("", [""], ["x"]),
        ("*", ["", "anything\nat all"], []),
        ("log-*.txt", ["log-.txt", "log-1.txt"], ["log-1.txt.gz", "og-1.txt", "log-txt"]),
        ("foo*baz*bar", ["foobazbar", "foo1baz2bazbar"], ["foobaz", "foobar", "bazbar"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("*a*a*", ["aa", "xaxax"], ["a"]),
        ("**", [""], []),
        ("\\*", ["*"], ["x", ""]),
        ("a\\*b*", ["a*bc"], ["axb"]),
        ("\\\\*", ["\\", "\\x"], ["x"]),
        ("a\\b", ["a\\b"], ["ab"]),
        ("[a]?.", ["[a]?."], ["a"]),
    ],
)
def test_string_matches_knows_a_star_and_its_escape(pattern: str, matching: list[str], failing: list[str]) -> None:
    rule: JsonObject = {"Variable": "$", "StringMatches": pattern}
    assert [holds(rule, text) for text in matching] == [True] * len(matching)
    assert [holds(rule, text) for text in failing] == [False] * len(failing)
    assert not holds(rule, 5)
    assert not holds(rule, None)


_TRUE: JsonObject = {"Variable": "$.t", "BooleanEquals": True}
_FALSE: JsonObject = {"Variable": "$.t", "BooleanEquals": False}
_ERROR: JsonObject = {"Variable": "$.missing", "IsNull": True}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"And": [_TRUE, _TRUE]}, True),
        ({"And": [_TRUE, _FALSE]}, False),
        ({"And": [_FALSE, _ERROR]}, False),
        ({"Or": [_FALSE, _FALSE]}, False),
        ({"Or": [_FALSE, _TRUE]}, True),
        ({"Or": [_TRUE, _ERROR]}, True),
        ({"Not": _TRUE}, False),
        ({"Not": {"Not": _TRUE}}, True),
        ({"And": [{"Or": [_FALSE, _TRUE]}, {"Not": _FALSE}]}, True),
        ({"And": [{"Variable": "$.missing", "IsPresent": True}, _ERROR]}, False),
        ({"Comment": "c", "Next": "N", "Assign": {"x": 1}, **_TRUE}, True),
        ({"Comment": "c", "Next": "N", "Not": {"Comment": "inner", **_TRUE}}, False),
    ],
)
def test_and_or_not_evaluate_from_the_left_and_stop_early(rule: JsonObject, outcome: bool) -> None:
    assert holds(rule, {"t": True}) is outcome


def test_an_error_inside_a_junction_is_an_error() -> None:
    for rule in ({"And": [_TRUE, _ERROR]}, {"Or": [_FALSE, _ERROR]}, {"Not": _ERROR}):
        with pytest.raises(StateFailed):
            holds(rule, {"t": True})


def test_there_are_39_comparisons() -> None:
    assert len(set(COMPARISONS)) == len(COMPARISONS) == 39


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({}, None),
        ({"Next": "X"}, None),
        ({"Variable": "$.a"}, None),
        ({"StringEquals": "x"}, "Variable"),
        ({"Variable": "$.a", "StringEquals": "x", "NumericEquals": 1}, None),
        ({"Variable": "$.a", "Spicy": 1}, "Spicy"),
        ({"Variable": "a", "IsNull": True}, "Variable"),
        ({"Variable": 1, "IsNull": True}, "Variable"),
        ({"Variable": "States.UUID()", "IsNull": True}, "Variable"),
        ({"Variable": "$.a", "StringEquals": 1}, "StringEquals"),
        ({"Variable": "$.a", "StringMatches": None}, "StringMatches"),
        ({"Variable": "$.a", "NumericEquals": "1"}, "NumericEquals"),
        ({"Variable": "$.a", "NumericEquals": True}, "NumericEquals"),
        ({"Variable": "$.a", "BooleanEquals": "true"}, "BooleanEquals"),
        ({"Variable": "$.a", "TimestampEquals": "2016-08-18"}, "TimestampEquals"),
        ({"Variable": "$.a", "IsNull": "yes"}, "IsNull"),
        ({"Variable": "$.a", "IsPresent": 1}, "IsPresent"),
        ({"Variable": "$.a", "StringEqualsPath": "b"}, "StringEqualsPath"),
        ({"Variable": "$.a", "StringMatchesPath": "$.b"}, "StringMatchesPath"),
        ({"Variable": "$.a", "And": [_TRUE]}, "Variable"),
        ({"And": []}, "And"),
        ({"Or": _TRUE}, "Or"),
        ({"Not": [_TRUE]}, None),
        ({"And": [_TRUE], "Or": [_TRUE]}, None),
        ({"And": [{}]}, None),
    ],
)
def test_malformed_rules_are_refused(rule: JsonObject, field: str | None) -> None:
    with pytest.raises(ChoiceSyntaxError) as caught:
        compile_comparison(rule)
    assert caught.value.field == field


def test_rules_nested_too_deeply_are_refused() -> None:
    rule: JsonObject = _TRUE
    for _ in range(5_000):
        rule = {"Not": rule}
    with pytest.raises(ChoiceSyntaxError, match="nest"):
        compile_comparison(rule)


def test_the_paths_of_a_rule_are_known() -> None:
    rule: JsonObject = {
        "And": [{"Variable": "$.a", "IsNull": True}, {"Not": {"Variable": "$v.b", "StringEqualsPath": "$w"}}],
        "Next": "N",
    }
    assert [path.text for path in rule_paths(rule)] == ["$.a", "$v.b", "$w"]


_rules = st.fixed_dictionaries({"Variable": st.sampled_from(["$", "$.a", "$.a[*]", "$$", "$v", "bad"])}).flatmap(
    lambda base: st.tuples(st.sampled_from(COMPARISONS), documents | st.sampled_from(["$", "$.a", EARLY])).map(
        lambda pair: {**base, pair[0]: pair[1]}
    )
)


@settings(max_examples=200, deadline=None)
@given(_rules, documents)
def test_any_rule_is_refused_or_gives_a_boolean_or_fails_as_documented(rule: JsonObject, document: Json) -> None:
    try:
        test = compile_comparison(rule)
    except ChoiceSyntaxError:
        return
    try:
        outcome = test(document, Surroundings(variables={"v": document}))
    except StateFailed as failed:
        assert failed.error == "States.Runtime"  # noqa: PT017  success is as good
    else:
        assert outcome is True or outcome is False
