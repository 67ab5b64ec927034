"""The validator as a whole: places, order, near misses, no cascades, scopes, warnings, and any input at all."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn.language.diagnostics import Diagnostic
from asfn.language.reader import build, read_document
from asfn.language.validate import invalid_definition_text, validate, validate_state, variable_references
from asfn.limits import Limits
from asfn.plan.states import compile_machine

LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:f"
END: dict[str, Any] = {"Type": "Pass", "End": True}
DISTRIBUTED = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}


def machine(first: Any, **others: Any) -> dict[str, Any]:
    return {"StartAt": "A", "States": {"A": first, **others}}


def inner(state: dict[str, Any], name: str = "X", **fields: Any) -> dict[str, Any]:
    return {"StartAt": name, "States": {name: state}, **fields}


def task(**fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": LAMBDA, "End": True, **fields}


def jsonata(definition: dict[str, Any]) -> dict[str, Any]:
    return {"QueryLanguage": "JSONata", **definition}


def findings(definition: Any, **options: Any) -> list[tuple[str, str | None, str]]:
    """Severity, pointer and message of every finding."""
    return [(item.severity, item.pointer, item.message) for item in validate(definition, **options)]


def errors(definition: Any) -> list[tuple[str | None, str]]:
    return [(item.pointer, item.message) for item in validate(definition) if item.severity == "ERROR"]


def only(definition: Any) -> Diagnostic:
    found = validate(definition)
    assert len(found) == 1, found
    return found[0]


# Places and order


def test_findings_come_in_document_order_with_lines_and_columns() -> None:
    text = """{
  "StartAt": "A",
  "States": {
    "A": {
      "Typo": 1,
      "Type": "Pass",
      "Next": "C"
    },
    "B": {"Type": "Wait", "Seconds": -1, "End": true}
  },
  "Foo": 1
}"""
    found = validate(read_document(text))
    assert [(item.line, item.column, item.message) for item in found] == [
        (5, 7, "Field 'Typo' is not supported"),
        (7, 15, "Missing 'Next' target: C"),
        (9, 10, 'State "B" is not reachable.'),
        (9, 38, "Minimum value is 0"),
        (11, 3, "Field 'Foo' is not supported"),
    ]


def test_a_missing_field_stands_at_its_object() -> None:
    text = '{"StartAt": "A", "States": {"A":\n  {"Type": "Task", "End": true}}}'
    found = validate(read_document(text))
    assert [(item.pointer, item.line, item.column) for item in found] == [("/States/A", 2, 3)]


def test_two_errors_are_joined_as_aws_joins_them() -> None:
    definition: dict[str, Any] = {
        "StartAt": "pass1",
        "States": {"pass1": {"Type": "Pass", "Next": "pass3"}, "pass2": {"Type": "Pass", "End": True}},
    }
    assert invalid_definition_text(validate(definition)) == (
        "MISSING_TRANSITION_TARGET: Missing 'Next' target: pass3 at /States/pass1/Next, "
        'MISSING_TRANSITION_TARGET: State "pass2" is not reachable. at /States/pass2'
    )


def test_an_error_without_a_place_is_joined_with_null() -> None:
    loop = machine({"Type": "Pass", "Next": "B"}, B={"Type": "Pass", "Next": "A"})
    assert invalid_definition_text(validate(loop)) == "MISSING_END_STATE: Workflow has no terminal state at null"


def test_an_unreached_end_is_an_end_all_the_same() -> None:
    loop = machine({"Type": "Pass", "Next": "B"}, B={"Type": "Pass", "Next": "A"}, C=END)
    assert errors(loop) == [("/States/C", 'State "C" is not reachable.')]


def test_a_machine_without_an_end_is_reported_after_its_targets_and_hides_what_is_not_reached() -> None:
    lost = machine({"Type": "Pass", "Next": "Z"}, B={"Type": "Pass", "Next": "A"})
    assert invalid_definition_text(validate(lost)) == (
        "MISSING_TRANSITION_TARGET: Missing 'Next' target: Z at /States/A/Next, "
        "MISSING_END_STATE: Workflow has no terminal state at null"
    )


@pytest.mark.parametrize(
    ("start", "lost"),
    [
        ("Z", ["A", "C"]),  # nothing is reached, and what A leads to is not named
        ("A", ["C"]),  # D stands behind C
    ],
)
def test_what_only_an_unreached_state_leads_to_is_not_reported_again(start: str, lost: list[str]) -> None:
    definition = machine({"Type": "Pass", "Next": "B"}, B=END, D=END, C={"Type": "Pass", "Next": "D"})
    found = errors({**definition, "StartAt": start})
    assert [message for _, message in found if "reachable" in message] == [
        f'State "{name}" is not reachable.' for name in lost
    ]


@pytest.mark.parametrize("field", ["Variable", "StringEqualsPath"])
def test_a_bracket_that_holds_neither_a_name_nor_an_index_is_named(field: str) -> None:
    rule = {"Variable": "$.a", "StringEqualsPath": "$.b", "Next": "B", field: "$.a[$$.Execution.Id]S"}
    found = errors(machine({"Type": "Choice", "Choices": [rule]}, B=END))
    message = "Value is not a Reference Path: '[' must be followed by ' or '['"
    assert found == [(f"/States/A/Choices[0]/{field}", message)]


def test_of_a_ring_that_nothing_leads_to_the_first_state_is_reported() -> None:
    ring = {"B": {"Type": "Pass", "Next": "C"}, "C": {"Type": "Pass", "Next": "B"}}
    assert errors(machine(END, **ring)) == [("/States/B", 'State "B" is not reachable.')]


def test_a_long_state_name_is_reported_where_the_state_stands() -> None:
    name = "N" * 81
    assert errors({"StartAt": name, "States": {name: END}})[0][0] == f"/States/{name}"


def test_pointers_go_through_branches_processors_rules_and_catchers() -> None:
    wrong = {"Type": "Choice", "Choices": [{"And": [{"Variable": "x", "IsNull": True}], "Next": "X"}]}
    processor = {"StartAt": "X", "States": {"X": wrong, "Y": {**END, "Foo": 1}}}
    a_map = {"Type": "Map", "Iterator": processor, "End": True}
    parallel = {"Type": "Parallel", "Branches": [inner(END, "P"), inner(a_map, "M")], "End": True}
    parallel["Catch"] = [{"ErrorEquals": ["E"], "Next": "A", "Foo": 1}]
    path = "/States/A/Branches[1]/States/M/Iterator/States"
    assert errors(machine(parallel)) == [
        (f"{path}/X/Choices[0]/And[0]/Variable", "Value is not a Reference Path: Reference path didn't start with '$'"),
        (f"{path}/Y", 'State "Y" is not reachable.'),
        (f"{path}/Y", "Field 'Foo' is not supported"),
        ("/States/A/Catch[0]", "Field 'Foo' is not supported"),
    ]


def test_template_findings_stand_at_the_object_that_holds_the_key() -> None:
    template = {"a": {"b": [1, {"x.$": "nope", "y.$": "$.fine"}]}}
    assert errors(machine(task(Parameters=template))) == [
        (
            "/States/A/Parameters/a/b[1]",
            "The value for the field 'x.$' must be a valid JSONPath or a valid intrinsic function call",
        )
    ]


# Near misses


@pytest.mark.parametrize(
    ("definition", "suggestion"),
    [
        (machine({**END, "ResutPath": "$.x"}), "Did you mean 'ResultPath'?"),
        (machine({**END, "resultpath": "$.x"}), "Did you mean 'ResultPath'?"),
        (machine({**END, "Result Path": "$.x"}), "Did you mean 'ResultPath'?"),
        (machine({"Type": "Tsk", "End": True}), "Did you mean 'Task'?"),
        (machine({**END, "Xyzzy": 1}), None),
        (machine(task(Resource="arn:aws:states:::sqs:sendMesage")), "Did you mean 'sqs:sendMessage'?"),
        (machine(task(Resource="arn:aws:states:::aws-sdk:dynamodbb:query")), "Did you mean 'dynamodb'?"),
        (machine({**END, "Parameters": {"x.$": "States.Formt('a')"}}), "Did you mean 'States.Format'?"),
        ({**machine(END), "Timeout": 1}, "Did you mean 'TimeoutSeconds'?"),
        (machine({**END, "End": "true"}), "Write true without quotes."),
    ],
)
def test_near_misses_are_pointed_out(definition: dict[str, Any], suggestion: str | None) -> None:
    assert only(definition).suggestion == suggestion


def test_a_missing_target_that_is_nearly_there_is_pointed_out() -> None:
    definition = machine({"Type": "Pass", "Next": "Trasform"}, Transform=END)
    assert validate(definition)[0].suggestion == "Did you mean 'Transform'?"


def test_only_the_first_of_very_many_near_misses_are_pointed_out() -> None:
    """To compare each of 2,000 wrong targets with each of 2,000 names would take more than a minute."""
    states: dict[str, Any] = {f"state-{n}": {"Type": "Pass", "Next": f"stat-{n}x"} for n in range(2_000)}
    missing = [found for found in validate({"StartAt": "state-0", "States": states}) if "Missing" in found.message]
    assert len(missing) == 2_000
    assert missing[0].suggestion == "Did you mean 'state-0'?"
    assert missing[-1].suggestion is None


# No cascades


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (machine({"Type": "Nope", "Foo": 1, "Next": 3}), "The field 'Type' should have one of these values"),
        (machine({"Type": "Choice", "Choices": "x"}, B=END), "Expected value of type [ARRAY]"),
        (machine({"Type": "Pass", "Next": 1}, B=END), "Expected value of type [STRING]"),
        (machine({"Type": "Task", "Resource": LAMBDA}, B=END), "[Next, End]"),
        ({"StartAt": 5, "States": {"A": END, "B": END}}, "Expected value of type [STRING]"),
        ({"StartAt": "A", "States": []}, "Expected value of type [OBJECT]"),
        (machine(task(Retry="x", TimeoutSeconds=1)), "Expected value of type [ARRAY]"),
        (machine({"Type": "Map", "ItemProcessor": 1, "End": True}), "Expected value of type [OBJECT]"),
    ],
)
def test_one_mistake_gives_one_error(definition: dict[str, Any], message: str) -> None:
    assert message in only(definition).message


def test_an_unknown_type_of_query_language_gives_the_checks_of_jsonata_and_one_error() -> None:
    assert errors(machine({**END, "QueryLanguage": "JSONAta", "Output": "{% 1 %}"})) == [
        ("/States/A/QueryLanguage", "Value should be one of the following: [JSONPath, JSONata]")
    ]
    assert errors(machine({**END, "QueryLanguage": 1})) == [
        ("/States/A/QueryLanguage", "Expected value of type [STRING]")
    ]


# Languages


def test_nested_states_fall_back_to_the_language_of_the_machine() -> None:
    processor = inner({**END, "Output": 1}, "X")
    definition = machine({"Type": "Map", "QueryLanguage": "JSONata", "ItemProcessor": processor, "End": True})
    where = "/States/A/ItemProcessor/States/X"
    what = (
        "The QueryLanguage is set to 'JSONPath', but field 'Output' is only supported for the 'JSONata' QueryLanguage"
    )
    assert errors(definition) == [(where, what)]


def test_of_a_state_that_may_not_be_jsonpath_no_field_of_the_other_language_is_reported() -> None:
    downgraded = {**END, "QueryLanguage": "JSONPath", "Output": {"v": "{% 1 %}"}, "Comment": 1}
    assert errors({"QueryLanguage": "JSONata", **machine(downgraded)}) == [
        ("/States/A", "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine"),
        ("/States/A/Comment", "Expected value of type [STRING]"),
    ]


@pytest.mark.parametrize("name", ["ItemProcessor", "Iterator"])
def test_a_nested_machine_has_no_query_language(name: str) -> None:
    definition = machine({"Type": "Map", name: inner(END, QueryLanguage="JSONata"), "End": True})
    assert errors(definition) == [(f"/States/A/{name}", "Field 'QueryLanguage' is not supported")]


# JSONata


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("{% phone %}", "UNSUPPORTED_JSONATA_EXPRESSION", "Reference to 'phone' at the top level is not supported."),
        ("{% $$.a %}", "UNSUPPORTED_JSONATA_EXPRESSION", "Reference to '$$' is not supported."),
        ("{% 1 + %}", "INVALID_JSONATA_EXPRESSION", "Unexpected end of expression"),
    ],
)
def test_expressions_that_aws_refuses_are_found_where_they_stand(text: str, code: str, message: str) -> None:
    found = only(jsonata(machine({**END, "Output": {"a": [0, text]}})))
    assert (found.code, found.message, found.pointer) == (code, message, "/States/A/Output/a[1]")


def test_members_of_states_exist_only_in_their_fields() -> None:
    catcher = {"ErrorEquals": ["E"], "Next": "A", "Output": "{% $states.errorOutput %}"}
    good = task(Output="{% $states.result %}", Assign={"x": "{% $states.result.y %}"}, Catch=[catcher])
    assert errors(jsonata(machine(good))) == []
    bad = task(Arguments="{% $states.result %}", Output="{% $states.errorOutput %}")
    assert [(item.code, item.pointer) for item in validate(jsonata(machine(bad)))] == [
        ("UNSUPPORTED_JSONATA_EXPRESSION", "/States/A/Arguments"),
        ("UNSUPPORTED_JSONATA_EXPRESSION", "/States/A/Output"),
    ]


def test_states_as_a_whole_may_be_used_anywhere() -> None:
    assert errors(jsonata(machine({**END, "Output": "{% $states %}"}))) == []


def test_an_expression_must_end_as_it_begins() -> None:
    found = only(jsonata(machine({**END, "Output": {"a": "{% 1 %} "}})))
    assert found.message == "JSONata string must start with {% and end with %}"


@pytest.mark.parametrize("text", [" {% nonsense( %}", "x {% y %}", "$.a", "{ % x"])
def test_other_strings_are_literal(text: str) -> None:
    assert findings(jsonata(machine({**END, "Output": {"a": text}}))) == []


# Variables


def test_an_inner_scope_may_not_assign_what_an_outer_one_assigns_even_later() -> None:
    branch = inner({**END, "Assign": {"x.$": "$.a"}})
    parallel = {"Type": "Parallel", "Branches": [branch], "Next": "B"}
    definition = machine(parallel, B={**END, "Assign": {"x": 1}})
    found = only(definition)
    assert (found.code, found.pointer) == ("INVALID_VARIABLE_NAME", "/States/A/Branches[0]/States/X/Assign")


def test_siblings_and_children_of_a_distributed_map_have_variables_of_their_own() -> None:
    assign = {**END, "Assign": {"x": 1}}
    parallel = {"Type": "Parallel", "Branches": [inner(assign, "P"), inner(assign, "Q")], "Next": "B"}
    processor = inner(assign, "R", ProcessorConfig=DISTRIBUTED)
    distributed = {"Type": "Map", "ItemProcessor": processor, "End": True, "Assign": {"x": 2}}
    assert errors(machine(END, **{})) == []
    assert errors({"StartAt": "B", "States": {"B": distributed}}) == []
    assert errors({"StartAt": "A", "States": {"A": parallel, "B": END}}) == []


@pytest.mark.parametrize("name", ["x", "größe", "x1_y", "日本", "X" * 80])
def test_variable_names_are_unicode_identifiers(name: str) -> None:
    assert errors(machine({**END, "Assign": {f"{name}.$": "$.a"}})) == []


@pytest.mark.parametrize("name", ["", "1x", "x.y", "x[0]", "a-b", "_x", "$x", "X" * 81])
def test_other_variable_names_are_refused(name: str) -> None:
    assert only(machine({**END, "Assign": {name: 1}})).code == "INVALID_VARIABLE_NAME"


def test_reading_what_nobody_assigns_is_a_warning() -> None:
    definition = machine(
        {"Type": "Pass", "Assign": {"known": 1}, "Next": "B"},
        B={**END, "Parameters": {"a.$": "$known.x", "b.$": "States.Format('{}', $nobody)"}, "OutputPath": "$other"},
    )
    assert [(item.severity, item.code, item.pointer) for item in validate(definition)] == [
        ("WARNING", "UNASSIGNED_VARIABLE", "/States/B/Parameters/b.$"),
        ("WARNING", "UNASSIGNED_VARIABLE", "/States/B/OutputPath"),
    ]


def test_children_of_a_distributed_map_do_not_see_outer_variables() -> None:
    reads = {**END, "Parameters": {"a.$": "$outer"}}

    def mapped(**fields: Any) -> dict[str, Any]:
        a_map = {"Type": "Map", "ItemProcessor": inner(reads, **fields), "End": True}
        return machine({"Type": "Pass", "Assign": {"outer": 1}, "Next": "M"}, M=a_map)

    assert findings(mapped()) == []
    assert only(mapped(ProcessorConfig=DISTRIBUTED)).code == "UNASSIGNED_VARIABLE"


def test_variable_references_cover_both_languages_and_inner_machines() -> None:
    choice = {
        "Type": "Choice",
        "Choices": [{"Not": {"Variable": "$b.x", "StringEqualsPath": "$a"}, "Next": "J"}],
        "Default": "J",
        "Assign": {"z.$": "States.Array($c, '$d')"},
    }
    expressions = {"Type": "Parallel", "QueryLanguage": "JSONata", "End": True, "Output": {"q": ["{% $e & $f.g %}"]}}
    expressions["Branches"] = [inner({**END, "Parameters": {"literal": "$h", "deep": {"i.$": "$i[0]"}}})]
    definition = machine(choice, J=expressions)
    assert variable_references(build(definition)) == {"A": ["a", "b", "c"], "J": ["e", "f"], "X": ["i"]}


# Warnings


@pytest.mark.parametrize(
    ("definition", "code", "pointer"),
    [
        (machine({**END, "Parameters": {"a": "$.x"}}), "NO_DOLLAR", "/States/A/Parameters/a"),
        (machine({**END, "Parameters": {"a": "States.UUID()"}}), "NO_DOLLAR", "/States/A/Parameters/a"),
        (machine({"Type": "Fail", "Cause": "$.cause"}), "NO_PATH", "/States/A/Cause"),
        (machine({**END, "Result": {"a.$": "$.x"}}), "PASS_RESULT_IS_STATIC", "/States/A/Result/a.$"),
        (machine({**END, "Parameters": {"a": "{% 1 %}"}}), "NO_JSONATA", "/States/A/Parameters/a"),
        (
            machine({**END, "Parameters": {"a.$": "States.Array(States.ArrayLength($, $))"}}),
            "WRONG_ARGUMENT_COUNT",
            "/States/A/Parameters/a.$",
        ),
        (
            machine(task(Resource="arn:aws:states:us-east-1:123456789012:activity:a")),
            "MISSING_TIMEOUT",
            "/States/A",
        ),
        (
            machine(
                task(
                    Resource="arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                    TimeoutSeconds=5,
                    Parameters={"QueueUrl": "q", "MessageBody": "no token"},
                )
            ),
            "MISSING_TASK_TOKEN",
            "/States/A",
        ),
        (
            machine(task(Resource="arn:aws:states:::lambda:invoke", Parameters={"Payload": {}})),
            "MISSING_PARAMETERS",
            "/States/A/Parameters",
        ),
        (
            machine(task(Resource="arn:aws:states:eu-west-1:123456789012:aws-sdk:s3:listBuckets", Parameters={})),
            "REGION_IN_INTEGRATION",
            "/States/A/Resource",
        ),
        (
            machine(task(Retry=[{"ErrorEquals": ["E"]}, {"ErrorEquals": ["F", "E"]}])),
            "UNREACHABLE_ERROR_NAME",
            "/States/A/Retry[1]/ErrorEquals",
        ),
        (
            machine(task(Retry=[{"ErrorEquals": ["States.TaskFaild"]}])),
            "UNKNOWN_ERROR_NAME",
            "/States/A/Retry[0]/ErrorEquals[0]",
        ),
        (
            machine({"Type": "Map", "ItemProcessor": inner(END), "Label": "x", "End": True}),
            "FIELD_WITHOUT_EFFECT",
            "/States/A/Label",
        ),
    ],
)
def test_warnings_point_at_likely_mistakes(definition: dict[str, Any], code: str, pointer: str) -> None:
    found = only(definition)
    assert (found.severity, found.code, found.pointer) == ("WARNING", code, pointer)


def test_a_token_in_the_parameters_is_found_in_both_languages() -> None:
    resource = "arn:aws:states:::lambda:invoke.waitForTaskToken"
    path = task(
        Resource=resource, TimeoutSeconds=9, Parameters={"FunctionName": "f", "Payload": {"t.$": "$$.Task.Token"}}
    )
    expression = task(
        Resource=resource,
        TimeoutSeconds=9,
        Arguments={"FunctionName": "f", "Payload": {"t": "{% $states.context.Task.Token %}"}},
    )
    assert findings(machine(path)) == []
    assert findings(jsonata(machine(expression))) == []


def test_names_that_stand_twice_are_reported_from_the_text() -> None:
    text = '{"StartAt": "A",\n"StartAt": "A",\n"States": {"A": {"Type": "Succeed"},\n"A": {"Type": "Succeed"}}}'
    found = validate(read_document(text))
    assert [(item.severity, item.code, item.pointer, item.suggestion) for item in found] == [
        ("WARNING", "DUPLICATE_FIELD", "/StartAt", "It stands again in line 2."),
        ("ERROR", "DUPLICATE_STATE_NAME", "/States/A", "It stands again in line 4."),
    ]


# One state


def test_a_single_state_is_judged_under_its_own_name_without_its_targets() -> None:
    state: dict[str, Any] = {"Type": "Task", "Resource": LAMBDA, "Next": "Elsewhere"}
    assert validate_state(state) == []
    found = validate_state({**state, "Foo": 1}, name="Pay")
    assert [(item.pointer, item.message) for item in found] == [("/States/Pay", "Field 'Foo' is not supported")]


def test_a_single_state_may_be_in_a_jsonata_machine() -> None:
    assert validate_state({**END, "Output": "{% 1 %}"}, query_language="JSONata") == []


# Anything at all


@pytest.mark.parametrize("value", [None, 1, "x", [], True, [machine(END)]])
def test_what_is_no_object_is_no_definition(value: Any) -> None:
    assert findings(value) == [("ERROR", None, "Definition must be a valid JSON object")]


@pytest.mark.parametrize(
    "value",
    [
        machine({**END, "Result": math.nan}),
        machine({**END, "Result": {1: 2}}),
        machine({**END, "Result": (1, 2)}),
        machine({**END, "Result": "\ud800"}),
        machine({**END, "Result": object()}),
    ],
)
def test_python_values_that_are_not_json_are_refused_with_the_reason(value: Any) -> None:
    found = only(value)
    assert found.message == "Definition must be a valid JSON object"
    assert found.suggestion is not None
    assert found.suggestion.startswith("$.States.A.Result")


def test_values_without_end_are_refused() -> None:
    endless: dict[str, Any] = machine(dict(END))
    endless["States"]["A"]["Result"] = endless
    found = only(endless)
    assert found.suggestion is not None
    assert "nested too deeply" in found.suggestion


def test_machines_nested_very_deeply_are_refused_or_accepted_but_never_crash() -> None:
    machine_inside = inner(END, "X0")
    for index in range(1, 120):
        parallel = {"Type": "Parallel", "Branches": [machine_inside], "End": True}
        machine_inside = inner(parallel, f"X{index}")
    assert all(item.severity == "ERROR" for item in validate(machine_inside))


def _wrapped(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("levels", "definition"),
    [
        (200, lambda n: machine({**END, "Parameters": _wrapped({"x.$": "$"}, n)})),
        (200, lambda n: jsonata(machine({**END, "Output": _wrapped(["{% 1 %}"], n)}))),
        (100, lambda n: machine({"Type": "Choice", "Choices": [_rule_within(n)]}, B={"Type": "Succeed"})),
        (50, lambda n: _machine_within(n)),
    ],
)
def test_what_is_accepted_can_be_built_and_compiled_however_deep_it_nests(levels: int, definition: Any) -> None:
    deepest = definition(levels - 1)
    assert not [item for item in validate(deepest) if item.severity == "ERROR"]
    compile_machine(build(deepest), Limits.aws())
    found = [item for item in validate(definition(levels + 1)) if item.severity == "ERROR"]
    assert [item.code for item in found] == ["TOO_DEEPLY_NESTED"]


def _rule_within(levels: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"Variable": "$", "IsNull": True}
    for level in range(levels):
        rule = {"Not": rule} if level % 2 else {"And": [rule]}
    return {**rule, "Next": "B"}


def _machine_within(levels: int) -> dict[str, Any]:
    inside = inner(END, "X0")
    for level in range(1, levels + 1):
        fields: dict[str, Any] = {"Type": "Parallel", "Branches": [inside]}
        if level % 2:
            fields = {"Type": "Map", "ItemProcessor": inside}
        inside = inner({**fields, "End": True}, f"X{level}")
    return inside


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_that_no_double_can_hold_is_refused(value: int) -> None:
    retry = [{"ErrorEquals": ["E"], "BackoffRate": value}]
    assert only(machine(task(Retry=retry))).pointer == "/States/A/Retry[0]/BackoffRate"


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "$", "$.x", "$$", "A", "{% 1 %}", "{% ( %}", "States.Array(", "Pass", LAMBDA, "JSONata"])
    | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Type", "Next", "End", "x", "x.$", "StartAt", "States", "ErrorEquals", "Variable", "Mode"]
            ),
            part,
            max_size=4,
        )
    ),
    max_leaves=12,
)

RICH: list[dict[str, Any]] = [
    task(
        TimeoutSeconds=10,
        HeartbeatSeconds=5,
        InputPath="$",
        OutputPath="$",
        ResultPath="$.r",
        Parameters={"a.$": "$.x"},
        ResultSelector={},
        Retry=[{"ErrorEquals": ["E"], "IntervalSeconds": 1, "MaxDelaySeconds": 5, "BackoffRate": 2}],
        Catch=[{"ErrorEquals": ["E"], "Next": "A", "ResultPath": "$", "Assign": {}}],
        Credentials={"RoleArn": "r"},
        Assign={"v": 1},
    ),
    {"Type": "Choice", "Choices": [{"And": [{"Variable": "$.x", "IsNull": True}], "Next": "A"}], "Default": "A"},
    {"Type": "Wait", "Seconds": 1, "End": True, "Comment": "c"},
    {"Type": "Fail", "Error": "e", "CausePath": "$.c"},
    {
        "Type": "Map",
        "ItemProcessor": inner(END, ProcessorConfig=DISTRIBUTED),
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a"], "MaxItems": 1},
            "Parameters": {"Bucket": "b", "Key": "k"},
        },
        "ItemBatcher": {"MaxItemsPerBatch": 2, "BatchInput": {}},
        "ResultWriter": {"WriterConfig": {"OutputType": "JSON", "Transformation": "NONE"}},
        "ItemsPath": "$.x",
        "ItemSelector": {},
        "Label": "L",
        "MaxConcurrency": 1,
        "ToleratedFailurePercentage": 1,
        "ToleratedFailureCountPath": "$.t",
        "End": True,
    },
    {
        "Type": "Parallel",
        "QueryLanguage": "JSONata",
        "Branches": [inner(END)],
        "Arguments": {},
        "Output": 1,
        "End": True,
    },
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(RICH), st.data())
def test_no_value_in_any_field_gives_an_exception_and_what_is_accepted_can_be_built(state: Any, data: Any) -> None:
    def change(value: Any) -> Any:
        if isinstance(value, (dict, list)) and value and data.draw(st.booleans()):
            if isinstance(value, dict):
                name = data.draw(st.sampled_from(sorted(value)))
                return {**value, name: change(value[name])}
            index = data.draw(st.integers(0, len(value) - 1))
            return [*value[:index], change(value[index]), *value[index + 1 :]]
        return data.draw(JUNK)

    definition = change(machine(state))
    found = validate(definition)
    if not any(item.severity == "ERROR" for item in found):
        variable_references(build(definition))


@pytest.mark.parametrize("state", RICH, ids=lambda state: state["Type"])
def test_the_rich_states_are_right_as_they_stand(state: dict[str, Any]) -> None:
    assert errors(machine(state)) in ([], [(None, "Workflow has no terminal state")])


def test_a_finding_about_a_path_with_an_escaped_lone_surrogate_can_be_printed() -> None:
    state = {"Type": "Pass", "Parameters": {"x.$": "$.a\\uD800b($.c)"}, "End": True}
    findings = validate({"StartAt": "S", "States": {"S": state}})
    assert findings
    assert all(f"{finding.message}{finding.suggestion}".encode() for finding in findings)
