"""Reading definitions: JSON and YAML texts, values, files, hostile input, and the model that comes out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asfn.errors import DefinitionError
from asfn.language.diagnostics import Diagnostic
from asfn.language.document import json_fault
from asfn.language.model import (
    MISSING,
    Catcher,
    ChoiceState,
    MapState,
    ParallelState,
    PassState,
    Retrier,
    TaskState,
    WaitState,
)
from asfn.language.reader import build, load, read_document
from asfn.language.source_json import JsonSyntaxError, parse_positions

LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:f"
TEXT = """{
  "StartAt": "A",
  "States": {
    "A": {"Type": "Pass", "Result": [1, {"b": null}], "End": true}
  }
}"""


def _refusal(source: Any, **options: Any) -> Diagnostic:
    with pytest.raises(DefinitionError) as caught:
        read_document(source, **options)
    assert len(caught.value.diagnostics) == 1
    return caught.value.diagnostics[0]


# Texts


def test_a_text_keeps_its_value_and_knows_where_each_part_stands() -> None:
    document = read_document(TEXT)
    assert document.value == json.loads(TEXT)
    assert document.position(()) == (1, 1)
    assert document.position(("StartAt",)) == (2, 14)
    assert document.key_position(("StartAt",)) == (2, 3)
    assert document.position(("States", "A", "Result", 1, "b")) == (4, 47)
    assert document.key_position(("States", "A", "Result", 1)) == (4, 41)
    assert document.position(("States", "Z")) is None


def test_a_value_has_no_positions() -> None:
    document = read_document({"StartAt": "A"})
    assert document.text is None
    assert document.position(("StartAt",)) is None


def test_a_file_is_read_by_its_path_and_gives_its_name(tmp_path: Path) -> None:
    path = tmp_path / "flow.asl.json"
    path.write_text(TEXT)
    document = read_document(path)
    assert (document.name, document.value) == ("flow.asl.json", json.loads(TEXT))


def test_a_yaml_file_is_told_by_its_suffix_even_when_it_looks_like_json(tmp_path: Path) -> None:
    path = tmp_path / "flow.asl.yaml"
    path.write_text("{StartAt: A, States: {A: {Type: Succeed}}}")
    assert load(path).start_at == "A"


def test_a_file_that_is_not_there_is_one_finding_naming_it(tmp_path: Path) -> None:
    finding = _refusal(tmp_path / "none.json")
    assert "none.json cannot be read" in finding.message


@pytest.mark.parametrize("mark", ["\ufeff", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_not_part_of_the_text(mark: str | bytes) -> None:
    source = mark + TEXT if isinstance(mark, str) else mark + TEXT.encode()
    assert read_document(source).position(("StartAt",)) == (2, 14)


def test_utf_16_with_its_mark_is_text_too() -> None:
    assert read_document(TEXT.encode("utf-16")).value == json.loads(TEXT)


def test_bytes_that_are_not_utf_8_are_refused_at_their_place() -> None:
    finding = _refusal(b'{\n "a": "\xe9"}')
    assert (finding.code, finding.line, finding.column) == ("INVALID_JSON_DESCRIPTION", 2, 8)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_blank_text_is_no_definition(text: str) -> None:
    finding = _refusal(text)
    assert finding.message == "Definition must be a valid JSON object"
    assert finding.pointer is None


# JSON that is none. Columns are those of the parser that AWS uses: behind the character or word it stopped at.
BAD_JSON = [
    ("not a definition", 1, 4, "Unrecognized token 'not': was expecting"),
    ('{"a":tru}', 1, 9, "Unrecognized token 'tru'"),
    ('{"a":NaN}', 1, 9, "Non-standard token 'NaN'"),
    ('{"a":héé}', 1, 9, "Unrecognized token 'héé'"),
    ("x" * 300, 1, 257, f"Unrecognized token '{'x' * 256}...': was expecting"),
    ("{", 1, 2, "Unexpected end-of-input: expected close marker for Object"),
    ('{"a":[1', 1, 8, "Unexpected end-of-input: expected close marker for Array"),
    ("[1,", 1, 4, "Unexpected end-of-input within/between Array entries"),
    ('{"a"', 1, 5, "Unexpected end-of-input within/between Object entries"),
    ('{"a":', 1, 6, "Unexpected end-of-input within/between Object entries"),
    ('{"a":1,', 1, 8, "Unexpected end-of-input within/between Object entries"),
    ('{"a', 1, 4, "Unexpected end-of-input in field name"),
    ('"\\u12', 1, 6, "Unexpected end-of-input in character escape sequence"),
    ('"\\', 1, 3, "Unexpected end-of-input in character escape sequence"),
    ("-", 1, 2, "Unexpected end-of-input in a Number value"),
    ('{"a":1,}', 1, 9, "Unexpected character ('}' (code 125)): was expecting double-quote to start field name"),
    ('{"a" 1}', 1, 7, "Unexpected character ('1' (code 49)): was expecting a colon"),
    ('{"a":1 "b":2}', 1, 9, "was expecting comma to separate Object entries"),
    ("[1,]", 1, 5, "Unexpected character (']' (code 93)): expected a valid value"),
    ("[1}", 1, 4, "Unexpected close marker '}': expected ']' (for Array starting at"),
    ("[}", 1, 3, "Unexpected close marker '}': expected ']' (for Array starting at"),
    ("{]", 1, 3, "Unexpected close marker ']': expected '}' (for Object starting at"),
    ("}", 1, 2, "expected ']' (for root starting at [Source: (String)\"}\"; line: 1, column: 0])"),
    ('{"a":}', 1, 7, "Unexpected character ('}' (code 125)): expected a value\n"),
    ('{"a":→}', 1, 7, "Unexpected character ('→' (code 8594 / 0x2192)): expected a valid value"),
    ("// c\n{}", 1, 2, "Unexpected character ('/' (code 47)): maybe a (non-standard) comment?"),
    ("\x01{}", 1, 2, "Illegal character ((CTRL-CHAR, code 1)): only regular white space"),
    ('{"a":01}', 1, 7, "Invalid numeric value: Leading zeroes not allowed"),
    ('{"a":-}', 1, 8, "Unexpected character ('}' (code 125)) in numeric value: expected digit (0-9) to follow minus"),
    ('{"a":12.}', 1, 7, "('}' (code 125)) in numeric value: Decimal point not followed by a digit"),
    ('{"a":1e+}', 1, 7, "in numeric value: Exponent indicator not followed by a digit"),
    ('{"a":1x}', 1, 8, "Unexpected character ('x' (code 120)): was expecting comma to separate Object entries"),
    ("1x", 1, 3, "Unexpected character ('x' (code 120)): Expected space separating root-level values"),
    ('{"a":"x', 1, 8, "was expecting closing quote for a string value"),
    ('{"a":"\\x"}', 1, 9, "Unrecognized character escape 'x' (code 120)"),
    ('{"a":"\\u1g"}', 1, 11, "Unexpected character ('g' (code 103)): expected a hex-digit"),
    ('{"a\x01":1}', 1, 5, "has to be escaped using backslash to be included in name"),
    ('{"a":\n"b\tc"}', 2, 4, "Illegal unquoted character ((CTRL-CHAR, code 9))"),
    ('{"a":"\\ud800"}', 1, 13, "Invalid surrogate character"),
    ('{"a":1} x', 1, 10, "was expecting the end of the text"),
    ("'a'", 1, 2, "Unexpected character (''' (code 39))"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), BAD_JSON)
def test_bad_json_is_one_finding_with_its_place(text: str, line: int, column: int, message: str) -> None:
    finding = _refusal(text)
    assert finding.code == "INVALID_JSON_DESCRIPTION"
    assert message in finding.message
    assert (finding.line, finding.column) == (line, column)
    assert finding.pointer is not None
    assert finding.message.endswith(f"\n at {finding.pointer}")
    assert finding.pointer.endswith(f"line: {line}, column: {column}]")


def test_a_long_text_is_cut_in_the_location() -> None:
    finding = _refusal("{" + " " * 1000)
    assert finding.pointer is not None
    assert '"[truncated 501 chars]; line: 1, column: 1002]' in finding.pointer


@pytest.mark.parametrize("text", ['{"a":1e400}', '{"a":"\ud800"}', '{"a":' + "9" * 5000 + "}"])
def test_json_that_no_value_can_hold_is_refused(text: str) -> None:
    assert _refusal(text).code == "INVALID_JSON_DESCRIPTION"


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("[" * 10_000_000, {}),
        ('{"a":' * 2_000_000, {}),
        ("[" + "1," * 5_000_000, {}),
        ("[" * 2_000_000, {"format": "yaml"}),
        ("{a: " * 500_000, {"format": "yaml"}),
        ("a: b\n" * 2_000_000, {"format": "yaml"}),
    ],
    ids=["brackets", "braces", "cut short", "yaml brackets", "yaml braces", "long yaml"],
)
def test_hostile_texts_are_refused_quickly(source: str, options: dict[str, Any]) -> None:
    started = time.perf_counter()
    finding = _refusal(source, **options)
    assert time.perf_counter() - started < 60
    assert len(finding.message) < 2000


def test_a_long_text_that_breaks_has_its_place() -> None:
    finding = _refusal("[" + "1,\n" * 600_000 + "x]")
    assert (finding.line, finding.column) == (600_001, 1)


@pytest.mark.parametrize("format", [None, "json", "yaml"])
@pytest.mark.parametrize("text", ['{"a":\n "\ud800"}', '{"a":\n \udfff', "a:\n  \ud83d"])
def test_a_lone_surrogate_is_refused_in_words_that_can_be_printed(text: str, format: Any) -> None:
    finding = _refusal(text, format=format)
    assert "lone surrogate" in finding.message
    assert finding.line == 2
    assert finding.message.encode()


def test_nesting_has_a_bound_that_is_named() -> None:
    assert "nesting depth (501) exceeds the maximum allowed (500)" in _refusal("[" * 5000).message


@pytest.mark.parametrize("within", ["[]", '{"a":[]}'])
def test_the_bound_of_nesting_is_the_same_for_texts_and_values(within: str) -> None:
    def nested(levels: int) -> str:
        around = levels - within.count("[") - within.count("{")
        return '{"a":' * around + within + "}" * around

    assert json_fault(read_document(nested(500), format="json").value) is None
    assert "nesting depth (501)" in _refusal(nested(501), format="json").message
    assert "nested too deeply" in str(json_fault(json.loads(nested(501))))


def _read_or_refuse(source: Any, **options: Any) -> int:
    """How many findings a text gives; anything but a DefinitionError goes through."""
    try:
        read_document(source, **options)
    except DefinitionError as error:
        return len(error.diagnostics)
    return 0


@given(st.text(alphabet='{}[]",:\\u0019 \n\tae.-+tnf$&*!|>#%@\ud800é'))
def test_no_text_gives_any_other_exception(text: str) -> None:
    assert _read_or_refuse(text) <= 1
    assert _read_or_refuse(text, format="yaml") <= 1


@given(st.binary())
def test_no_bytes_give_any_other_exception(data: bytes) -> None:
    assert _read_or_refuse(data) <= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON, st.sampled_from([None, 1, 4]))
def test_positions_are_found_for_every_member_of_every_json_text(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    root = parse_positions(text)

    def compare(part: Any, node: Any) -> None:
        decoded, _ = json.JSONDecoder().raw_decode(text, node.offset)
        assert decoded == part
        members = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for token, member in members:
            compare(member, node.members[token])

    compare(value, root)


@given(st.text(alphabet='{}[]",:\\u0019 \n\tae.-+'))
def test_the_two_json_parsers_agree_about_what_is_json(text: str) -> None:
    try:
        json.loads(text, parse_constant=_no_constant)
        valid = True
    except ValueError:
        valid = False
    try:
        parse_positions(text)
        found = True
    except JsonSyntaxError:
        found = False
    assert found == valid or "\\u" in text  # json.loads takes lone surrogates


def _no_constant(name: str) -> None:
    raise ValueError(name)


# YAML


def test_yaml_gives_json_types_only() -> None:
    text = """
yes: Yes
no: NO
off: off
date: 2024-01-01
time: 1:30
octal: 012
hex: 0x10
big: 12345678901234567890
float: 1e3
infinite: .inf
empty:
tilde: ~
bool: true
quoted: "5"
single: '1'
block: |
  {% 1 %}
tagged: !!str 5
1: one
true: two
"""
    assert read_document(text).value == {
        "yes": "Yes",
        "no": "NO",
        "off": "off",
        "date": "2024-01-01",
        "time": "1:30",
        "octal": 12,
        "hex": 16,
        "big": 12345678901234567890,
        "float": 1000.0,
        "infinite": ".inf",
        "empty": None,
        "tilde": None,
        "bool": True,
        "quoted": "5",
        "single": "1",
        "block": "{% 1 %}\n",
        "tagged": "5",
        "1": "one",
        "true": "two",
    }


def test_yaml_positions_come_from_its_marks() -> None:
    document = read_document("# a flow\nStartAt: A\nStates:\n  A:\n    Type: Foo\n")
    assert document.position(("States", "A", "Type")) == (5, 11)
    assert document.key_position(("States", "A")) == (4, 3)


def test_yaml_aliases_and_merges_are_followed() -> None:
    text = "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: [*x, *x]\n"
    value = read_document(text).value
    assert value == {"x": {"a": 1, "b": 2}, "y": {"b": 3, "a": 1}, "z": [{"a": 1, "b": 2}] * 2}


BAD_YAML = [
    ("a: !Sub x", "the tag !Sub has no meaning"),
    ("a: !!python/object/apply:os.system [x]", "the tag !!python/object/apply:os.system has no meaning"),
    ("a: !!timestamp 2024-01-01", "the tag !!timestamp has no meaning"),
    ("a: &a [*a]", "the alias *a holds itself"),
    ("a: *b", "the alias *b is not defined"),
    ("a: 1\n---\nb: 2", "one YAML document"),
    ("? [a]\n: b", "a key must be text"),
    ("a: b: c", "mapping values are not allowed"),
    ("a:\n\t- x", "cannot start any token"),
    ("a: 1e400", "cannot be written as JSON"),
    ("a: " + "9" * 5000, "a number of this length"),
]


@pytest.mark.parametrize(("text", "message"), BAD_YAML)
def test_bad_yaml_is_one_finding_with_its_place(text: str, message: str) -> None:
    finding = _refusal(text, format="yaml")
    assert finding.code == "INVALID_JSON_DESCRIPTION"
    assert message in finding.message
    assert finding.line is not None


def test_yaml_aliases_cannot_unfold_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert "unfolds to more than" in _refusal("\n".join(lines)).message


def test_a_definition_in_yaml_is_checked_and_built() -> None:
    machine = load(f"""
StartAt: Pay
States:
  Pay:
    Type: Task
    Resource: {LAMBDA}
    TimeoutSeconds: 30
    End: true
""")
    state = machine.states["Pay"]
    assert isinstance(state, TaskState)
    assert state.timeout_seconds == 30


# The model


def test_load_raises_every_finding_when_one_of_them_is_an_error() -> None:
    states: Any = {"A": {"Type": "Pass", "Result": "$.x", "End": True, "Foo": 1}}
    with pytest.raises(DefinitionError) as caught:
        load({"StartAt": "A", "States": states})
    assert [item.severity for item in caught.value.diagnostics] == ["WARNING", "ERROR"]
    assert str(caught.value) == "/States/A: Field 'Foo' is not supported"


def test_load_knows_the_type_of_machine() -> None:
    resource = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"
    parameters = {"QueueUrl": "q", "MessageBody.$": "$$.Task.Token"}
    task: Any = {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True}
    definition: Any = {"StartAt": "A", "States": {"A": task}}
    assert load(definition).start_at == "A"
    with pytest.raises(DefinitionError):
        load(definition, type="EXPRESS")


def test_defaults_of_the_model_are_those_of_the_language() -> None:
    machine = build({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})
    state = machine.states["A"]
    assert isinstance(state, PassState)
    assert (state.next, state.input_path, state.output_path, state.result_path) == (None, "$", "$", "$")
    assert state.parameters is MISSING
    assert state.result is MISSING
    assert machine.query_language == "JSONPath"


def test_null_paths_and_results_are_kept_apart_from_missing_ones() -> None:
    fields: Any = {"InputPath": None, "ResultPath": None, "OutputPath": None, "Result": None}
    state = build({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True, **fields}}}).states["A"]
    assert isinstance(state, PassState)
    assert (state.input_path, state.result_path, state.output_path, state.result) == (None, None, None, None)


def test_retriers_and_catchers_become_their_classes() -> None:
    task: Any = {
        "Type": "Task",
        "Resource": LAMBDA,
        "Next": "B",
        "Retry": [{"ErrorEquals": ["E"]}, {"ErrorEquals": ["F"], "BackoffRate": 1, "JitterStrategy": "FULL"}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B", "ResultPath": None}],
    }
    state = build({"StartAt": "A", "States": {"A": task, "B": {"Type": "Succeed"}}}).states["A"]
    assert isinstance(state, TaskState)
    assert state.retry == (Retrier(("E",)), Retrier(("F",), backoff_rate=1.0, full_jitter=True))
    assert state.catch == (Catcher(("States.ALL",), "B", result_path=None),)


def test_nested_machines_take_the_language_of_the_outermost() -> None:
    inner: Any = {"StartAt": "X", "States": {"X": {"Type": "Pass", "End": True}}}
    parallel: Any = {"Type": "Parallel", "QueryLanguage": "JSONata", "Branches": [inner], "End": True}
    state = build({"StartAt": "A", "States": {"A": parallel}}).states["A"]
    assert isinstance(state, ParallelState)
    assert state.query_language == "JSONata"
    assert state.branches[0].query_language == "JSONPath"
    assert state.branches[0].states["X"].query_language == "JSONPath"


def test_a_distributed_map_keeps_its_own_fields_as_they_were_written() -> None:
    inner: Any = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
        "StartAt": "X",
        "States": {"X": {"Type": "Pass", "End": True}},
    }
    reader: Any = {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b"}}
    fields: Any = {"ItemReader": reader, "Label": "L", "Parameters": {"a": 1}, "MaxConcurrency": 3.0}
    machine = build({"StartAt": "A", "States": {"A": {"Type": "Map", "Iterator": inner, "End": True, **fields}}})
    state = machine.states["A"]
    assert isinstance(state, MapState)
    assert (state.mode, state.execution_type) == ("DISTRIBUTED", "EXPRESS")
    assert dict(state.distributed) == {"ItemReader": reader, "Label": "L"}
    assert (state.item_selector, state.arguments, state.max_concurrency) == ({"a": 1}, MISSING, 3)


def test_choice_rules_are_split_into_comparison_and_target() -> None:
    rules: Any = [{"Variable": "$.x", "IsNull": True, "Next": "B", "Assign": {"v": 1}, "Comment": "c"}]
    choice: Any = {"Type": "Choice", "Choices": rules, "Default": "B"}
    state = build({"StartAt": "A", "States": {"A": choice, "B": {"Type": "Succeed"}}}).states["A"]
    assert isinstance(state, ChoiceState)
    assert state.choices[0].comparison == {"Variable": "$.x", "IsNull": True}
    assert (state.choices[0].next, state.choices[0].assign, state.default) == ("B", {"v": 1}, "B")


def test_a_jsonata_wait_keeps_its_expression() -> None:
    wait: Any = {"Type": "Wait", "Seconds": "{% 1 + 1 %}", "End": True}
    state = build({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": wait}}).states["A"]
    assert isinstance(state, WaitState)
    assert state.seconds == "{% 1 + 1 %}"
