from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.compare import Matcher
from tests.conformance.normalise import Placeholders, decode_members

TOKENS = Placeholders(
    bindings={"<fn>": "pay", "<fn>_x": "other", "role": "arn:role", "<region>": "us-east-1"},
    wildcards=("<uuid:1>", "<uuid:2>"),
    bare=("timestamp", "RequestId"),
    dates=("date",),
)


def why(expected: Any, actual: Any, tokens: Placeholders = TOKENS) -> str:
    difference = Matcher(tokens).difference(tokens.bind(expected), actual)
    return "" if difference is None else str(difference)


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text", "", [], {}, [1, {"a": [None]}], {"a": {"b": ""}}])
def test_a_value_equals_itself(value: Any) -> None:
    assert why(value, value) == ""


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (1, 1.0),
        (0, False),
        (1, True),
        (None, False),
        ("1", 1),
        ([1], [1, 2]),
        ([1, 2], [2, 1]),
        ({"a": 1}, {}),
        ({}, {"a": None}),
        ({"a": {}}, {"a": []}),
        ("text", "Text"),
        ("a", None),
    ],
)
def test_different_values_differ(expected: Any, actual: Any) -> None:
    assert why(expected, actual) != ""
    assert why([expected], [actual]).startswith("$[0]")


def test_the_order_of_members_does_not_matter() -> None:
    assert why({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}) == ""


def test_a_difference_names_its_path_and_both_values() -> None:
    assert why({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}) == '$.a[0].b: expected "x", got "y"'
    assert why({"a": 1}, {}) == "$.a: expected 1, got nothing"
    assert why({}, {"a": 1}) == "$.a: expected nothing, got 1"


def test_long_texts_are_shown_from_where_they_part() -> None:
    text = why("x" * 500 + "one", "x" * 500 + "two")
    assert "...xxxx" in text
    assert 'xone"' in text
    assert 'xtwo"' in text


def test_bindings_are_replaced_longest_first_in_values_and_keys() -> None:
    assert why({"<fn>": "arn:<region>:<fn>:<fn>_x"}, {"pay": "arn:us-east-1:pay:other"}) == ""


def test_a_wildcard_is_the_same_text_everywhere() -> None:
    assert why(["id <uuid:1>", "<uuid:1>/<uuid:2>"], ["id 7", "7/8"]) == ""
    assert why(["id <uuid:1>", "<uuid:1>/<uuid:2>"], ["id 7", "9/8"]) != ""
    assert why("<uuid:1>-<uuid:1>", "a-a") == ""
    assert why("<uuid:1>-<uuid:1>", "a-b") != ""


def test_a_wildcard_is_text_and_keeps_what_stands_around_it() -> None:
    assert why("before <uuid:1> after", "before anything\nat all after") == ""
    assert why("before <uuid:1> after", "before anything") != ""
    assert why("<uuid:1>", 5) != ""


def test_a_bare_word_stands_for_anything_and_inside_a_text_for_any_part() -> None:
    assert why("timestamp", 1700000000.5) == ""
    assert why({"RequestId": "RequestId"}, {"RequestId": ["a"]}) == ""
    assert why("at timestamp!", "at noon!") == ""
    assert why("at timestamp!", "at noon?") != ""


def test_a_date_word_stands_for_a_date_or_itself() -> None:
    assert why("until date", "until 2024-01-31T10:00:00.123Z") == ""
    assert why("until date", "until 2024-01-31T10:00:00+02:00") == ""
    assert why("until date", "until date") == ""
    assert why("until date", "until tomorrow") != ""


def test_response_metadata_must_be_there_but_its_contents_are_not_compared() -> None:
    assert why({"SdkHttpMetadata": {"HttpStatusCode": 200}}, {"SdkHttpMetadata": {}}) == ""
    assert why({"SdkHttpMetadata": {}}, {}) != ""


def test_members_that_came_later_are_ignored_only_where_the_recording_lacks_them() -> None:
    assert why({}, {"RedriveCount": 0}) == ""
    assert why({"RedriveCount": 0}, {"RedriveCount": 1}) != ""
    assert why({"RedriveCount": 0}, {}) != ""


def test_billing_details_are_compared_by_their_keys() -> None:
    assert why({"billingDetails": {"ms": 100}}, {"billingDetails": {"ms": 300}}) == ""
    assert why({"billingDetails": {"ms": 100}}, {"billingDetails": {"mb": 100}}) != ""


@pytest.mark.parametrize(
    ("expected", "actual", "equal"),
    [
        ('[{"a":1,"b":2}]', '[{"b":2,"a":1}]', True),
        ('[{"a":1,"b":2}]', '[{"b":2, "a":1}]', False),
        ("[1, 2]", "[1,2]", False),
        ("[1.0]", "[1]", False),
        ("[1.0]", "[1.00]", False),
        ('[{"a":"<uuid:1>","b":2}]', '[{"b":2,"a":"any"}]', True),
        ('[{"a":"<uuid:1>","b":2}]', '[{"b":2, "a":"any"}]', False),
        ('["a b"]', '["ab "]', False),
        ("[1", "[1", True),
        ("[1", "[2", False),
    ],
)
def test_json_texts_may_differ_only_in_member_order(expected: str, actual: str, *, equal: bool) -> None:
    assert (why(expected, actual) == "") is equal


def test_members_holding_the_text_of_an_object_are_decoded_once() -> None:
    value = {"input": '{"a": "{\\"b\\": 1}"}', "list": '["x"]', "bad": "{no", "inner": {"output": '{"c": 1}'}}
    assert decode_members(value) == {
        "input": {"a": '{"b": 1}'},
        "list": '["x"]',
        "bad": "{no",
        "inner": {"output": {"c": 1}},
    }
    assert decode_members([{"a": '{"b": 1}'}, '{"c": 1}']) == [{"a": {"b": 1}}, '{"c": 1}']


def test_the_tokens_of_a_case_are_read_from_it() -> None:
    tokens = Placeholders.of(
        {
            "placeholders": {
                "bindings": {"a-role": "arn:aws:iam::1:role/x"},
                "wildcards": ["<uuid:1>"],
                "bare_wildcards": ["timestamp"],
                "iso_dates_become": "date",
            }
        }
    )
    assert tokens.bind("<partition>:<region>:a-role") == "aws:us-east-1:arn:aws:iam::1:role/x"
    assert tokens.pieces("x<uuid:1>y") == ["x", "<uuid:1>", "y"]
    assert tokens.pieces("plain") is None
    assert tokens.dates == ("date",)
    assert Placeholders.of({}).pieces("anything") is None
