"""JSON payloads, ARNs and limits: what every room stands on."""

from __future__ import annotations

import pytest

from asfn._json import JsonError, Payload, check_finite, decode, encode
from asfn.arn import Arns, check_name, name_of, new_uuid, parse_task_resource
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


def test_uuids_are_version_4_and_differ() -> None:
    made = {new_uuid() for _ in range(1000)}
    assert len(made) == 1000
    assert all(text[14] == "4" and text[19] in "89ab" and len(text) == 36 for text in made)


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
