"""JSON payloads, ARNs and limits: what every room stands on."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from typing import Any

import pytest

from asfn._json import JsonError, Payload, check_finite, decode, encode
from asfn.arn import Arns, check_name, name_of, new_uuid, ordered_uuid, parse_task_resource
from asfn.errors import InvalidArn, InvalidName
from asfn.limits import Limits


def test_a_parsed_payload_keeps_the_text_it_came_with() -> None:
    assert Payload.parse('["Hello", "World"]').text == '["Hello", "World"]'
    assert Payload(["Hello", "World"]).text == '["Hello","World"]'


def test_sizes_count_utf8_bytes_and_not_characters() -> None:
    assert Payload("é").size_bytes == 4
    assert Payload("ab").size_bytes == 4


@pytest.mark.parametrize("text", ["", "{", '{"a":1}x', "NaN", "1e400", '"\ud800"', "[" * 100_000])
def test_text_that_is_no_json_is_a_json_error(text: str) -> None:
    with pytest.raises(JsonError):
        decode(text)


def test_integers_beyond_64_bits_stay_exact() -> None:
    assert decode(encode(2**80)) == 2**80


def test_a_non_finite_number_is_named_by_its_place() -> None:
    with pytest.raises(JsonError, match=r"\$\.a\[1\] is nan"):
        check_finite({"a": [1, float("nan")]})


def test_a_nested_value_too_deep_to_write_is_a_json_error() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(JsonError):
        encode(value)  # type: ignore[arg-type]
    with pytest.raises(JsonError, match="nested too deeply"):
        check_finite(value)  # type: ignore[arg-type]


def large(**members: Any) -> Payload:
    """An object that was printed before, long enough that members are set by putting their text behind its own."""
    payload = Payload({"filling": "x" * 300, **members})
    assert len(payload.text) > 300
    return payload


@pytest.mark.parametrize(
    "member",
    [Payload({"b": [1, 2.5, None]}), Payload("é\n"), Payload(10**30), Payload.parse('{ "blank":  1e2 }'), Payload([])],
    ids=["object", "text", "integer", "as it came", "empty"],
)
@pytest.mark.parametrize(
    "whole",
    [large(), Payload({}), Payload.parse('{"kept":  "as it came%s"}' % ("x" * 300)), large(new="there already")],
    ids=["large", "empty", "as it came", "replaced"],
)
def test_an_object_with_a_member_set_is_printed_as_the_whole_would_be(whole: Payload, member: Payload) -> None:
    assert isinstance(whole.value, dict)
    before = dict(whole.value)
    changed = whole.with_member("new", member)

    assert changed.value == {**before, "new": member.value}
    assert changed.text == encode(changed.value)
    assert changed.with_member('"quoted"', member).text == encode(
        {**before, "new": member.value, '"quoted"': member.value}
    )
    assert whole.value == before


def test_a_member_that_json_cannot_hold_is_told_when_the_whole_is_printed() -> None:
    changed = large().with_member("new", Payload("\ud800"))

    assert not changed.is_within(1_000_000)
    with pytest.raises(JsonError):
        _ = changed.text


def test_a_copy_of_a_value_is_not_touched_by_its_owner() -> None:
    value: dict[str, Any] = {"list": [1, None]}
    payload = Payload.copy_of(value)
    value["list"].append(2)

    assert payload.value == {"list": [1, None]}
    assert payload.text == '{"list":[1,null]}'


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_copy_of_a_non_finite_number_is_refused(number: float) -> None:
    with pytest.raises(JsonError, match=r"\$\.a\[0\]"):
        Payload.copy_of({"a": [number], "b": None})


def test_a_list_of_documents_keeps_each_as_it_came() -> None:
    joined = Payload.of_list([Payload.parse('{ "a": 1 }'), Payload([2])])

    assert joined.value == [{"a": 1}, [2]]
    assert joined.text == '[{ "a": 1 },[2]]'
    assert Payload.of_list([]).text == "[]"


def test_what_is_within_a_size_is_never_more_bytes_than_that() -> None:
    for text in ("x" * 62, "é" * 62, "\U0001f600" * 62):
        payload = Payload(text)
        assert payload.is_within(4 * 64)
        assert payload.size_bytes <= 4 * 64
        assert not Payload(text + "x").is_within(4 * 64)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
def test_a_forked_process_draws_uuids_of_its_own() -> None:
    program = (
        "import os; from asfn.arn import new_uuid; new_uuid(); child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "print(new_uuid(), flush=True)"
    )
    made = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert len(made) == 2
    assert made[0] != made[1]


def test_uuids_are_version_4_and_differ() -> None:
    made = {new_uuid() for _ in range(1000)}
    assert len(made) == 1000
    assert all(text[14] == "4" and text[19] in "89ab" and len(text) == 36 for text in made)


def test_ordered_uuids_are_version_7_sort_by_their_moment_and_differ() -> None:
    made = [ordered_uuid(1_700_000_000 + step / 1000) for step in range(1000)]
    assert made == sorted(made)
    assert all(text[14] == "7" and text[19] in "89ab" and len(text) == 36 for text in made)
    assert len({ordered_uuid(1_700_000_000.0) for _ in range(1000)}) == 1000
    assert uuid.UUID(made[0]).int >> 80 == 1_700_000_000_000


@pytest.mark.parametrize("name", ["", "a" * 81, "a b", "a/b", "a:b", "a*", "a\x07", "\U0010ffff"])
def test_names_that_aws_refuses_are_refused_with_its_text(name: str) -> None:
    with pytest.raises(InvalidName) as refused:
        check_name(name)
    assert str(refused.value) == f"Invalid Name: '{name}'"


def test_names_of_any_script_with_dots_and_dashes_are_legal() -> None:
    assert [check_name(name) for name in ("a.b-c_d@e=f+g!'h", "größe")] == ["a.b-c_d@e=f+g!'h", "größe"]


def test_arns_have_awss_forms() -> None:
    arns = Arns("eu-west-1", "111122223333")
    assert arns.execution("m", "e") == "arn:aws:states:eu-west-1:111122223333:execution:m:e"
    assert name_of(arns.execution("m", "e")) == "e"
    assert name_of(arns.express("m", "e", "u")) == "e"
    with pytest.raises(InvalidArn, match="Invalid ARN prefix: nope"):
        name_of("nope")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arn:aws:lambda:us-east-1:123456789012:function:f:7", ("lambda", "lambda", "f", "", "7")),
        ("arn:aws:states:us-east-1:123456789012:activity:a", ("activity", "activity", "a", "", None)),
        (
            "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            ("service", "sqs", "sendMessage", "waitForTaskToken", None),
        ),
        ("arn:aws:states:::states:startExecution.sync:2", ("service", "states", "startExecution", "sync:2", None)),
        ("arn:aws:states:::aws-sdk:s3:getObject", ("service", "aws-sdk:s3", "getObject", "", None)),
        ("arn:aws:lambda:your-region:your-account-id:function:f", ("lambda", "lambda", "f", "", None)),
        ("arn:aws:lambda:::function:f.g:$LATEST", ("lambda", "lambda", "f.g", "", "$LATEST")),
        ("arn:aws:states:us-east-1:123456789012:sns:publish", ("service", "sns", "publish", "", None)),
    ],
)
def test_task_resources_are_taken_apart(text: str, expected: tuple[object, ...]) -> None:
    resource = parse_task_resource(text)
    found = (resource.family, resource.service, resource.action, resource.pattern, resource.qualifier)
    assert found == expected


@pytest.mark.parametrize(
    "text", ["nope", "arn:aws:states:::sqs", "arn:aws:states:::sqs:send.never", "arn:aws:sqs:::x:y:z"]
)
def test_a_resource_of_no_known_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidArn):
        parse_task_resource(text)


def test_an_unknown_limits_profile_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'aws', 'relaxed'"):
        Limits.named("azure")  # type: ignore[arg-type]
