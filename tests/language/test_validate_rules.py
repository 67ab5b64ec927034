"""One small wrong definition for each of the 169 rules of the reference (validators.md): refused, and only for that."""

from __future__ import annotations

from typing import Any

import pytest

from asfn.language.validate import validate

LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:f"
END: dict[str, Any] = {"Type": "Pass", "End": True}


def states(first: Any, **others: Any) -> dict[str, Any]:
    """A machine that starts with the given state, named A."""
    return {"StartAt": "A", "States": {"A": first, **others}}


def passing(**fields: Any) -> dict[str, Any]:
    return states({"Type": "Pass", "End": True, **fields})


def task(**fields: Any) -> dict[str, Any]:
    return states({"Type": "Task", "Resource": LAMBDA, "End": True, **fields})


def wait(**fields: Any) -> dict[str, Any]:
    return states({"Type": "Wait", "End": True, **fields})


def fail(**fields: Any) -> dict[str, Any]:
    return states({"Type": "Fail", **fields})


def succeed(**fields: Any) -> dict[str, Any]:
    return states({"Type": "Succeed", **fields})


def rule(**fields: Any) -> dict[str, Any]:
    """A Choice with one rule that leads to B."""
    return choice([{"Next": "B", **fields}])


def choice(rules: Any, **fields: Any) -> dict[str, Any]:
    return states({"Type": "Choice", "Choices": rules, "Default": "B", **fields}, B=END)


def parallel(branches: Any, **fields: Any) -> dict[str, Any]:
    return states({"Type": "Parallel", "Branches": branches, "End": True, **fields})


def branch(name: str = "X", **fields: Any) -> dict[str, Any]:
    return {"StartAt": name, "States": {name: {"Type": "Pass", "End": True, **fields}}}


def mapping(*, distributed: bool = False, config: Any = None, **fields: Any) -> dict[str, Any]:
    processor = branch()
    if distributed:
        processor["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    if config is not None:
        processor["ProcessorConfig"] = config
    return states({"Type": "Map", "ItemProcessor": processor, "End": True, **fields})


def retry(**fields: Any) -> dict[str, Any]:
    return task(Retry=[{"ErrorEquals": ["E"], **fields}])


def catch(*catchers: Any) -> dict[str, Any]:
    return states({"Type": "Task", "Resource": LAMBDA, "End": True, "Catch": list(catchers)}, B=END)


def jsonata(definition: dict[str, Any]) -> dict[str, Any]:
    return {"QueryLanguage": "JSONata", **definition}


def without(definition: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in definition.items() if name not in names}


def template(**fields: Any) -> dict[str, Any]:
    """A Pass with a payload template; `dollar_x` stands for the key `x.$`."""
    return passing(Parameters={f"{k.removeprefix('dollar_')}.$" if "dollar_" in k else k: v for k, v in fields.items()})


RULE = {"Variable": "$.x", "StringEquals": "y"}
NOT_A_CALL = "must be a valid JSONPath or a valid intrinsic function call"
ONE_FIELD = "There should only be one of the following fields: "
READER = {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key": "k"}}

REFUSED: list[tuple[int, dict[str, Any], str]] = [
    (1, without(passing(), "StartAt"), "These fields are required: [StartAt]"),
    (2, without(passing(), "States"), "These fields are required: [States]"),
    (3, {"StartAt": "A", "States": {}}, "Value cannot be empty"),
    (4, {**passing(), "StartAt": "Z"}, "Missing 'Next' target: Z"),
    (5, {**passing(), "StartAt": 1}, "Expected value of type [STRING]"),
    (6, {**passing(), "Foo": 1}, "Field 'Foo' is not supported"),
    (7, {**passing(), "Version": "2.0"}, "Value should be one of the following: [1.0]"),
    (8, {**passing(), "TimeoutSeconds": 0}, "Minimum value is 1"),
    (8, {**passing(), "TimeoutSeconds": -1}, "Minimum value is 1"),
    (9, {**passing(), "Comment": 1}, "Expected value of type [STRING]"),
    (10, {**passing(), "QueryLanguage": "Foo"}, "Value should be one of the following: [JSONPath, JSONata]"),
    (11, passing(QueryLanguage="Foo"), "Value should be one of the following: [JSONPath, JSONata]"),
    (12, jsonata(passing(QueryLanguage="JSONPath")), "'QueryLanguage' can not be 'JSONPath'"),
    (13, states({"End": True}), "These fields are required: [Type]"),
    (14, states({"Type": "Foo", "End": True}), "The field 'Type' should have one of these values"),
    (15, states({"Type": "pass", "End": True}), "The field 'Type' should have one of these values"),
    (16, states("Pass"), "Expected value of type [OBJECT]"),
    (17, passing(Foo=1), "Field 'Foo' is not supported"),
    (18, {"StartAt": "A" * 81, "States": {"A" * 81: END}}, f"Invalid State name: State '{'A' * 81}' exceeds the 80-"),
    (19, parallel([branch(), branch()]), "Duplicate State name: X"),
    (20, states({"Type": "Pass", "Next": "Z"}, B=END) | {"StartAt": "A"}, "Missing 'Next' target: Z"),
    (21, parallel([{"StartAt": "X", "States": {"X": {"Type": "Pass", "Next": "A"}}}]), "Missing 'Next' target: A"),
    (22, mapping(ItemProcessor={"StartAt": "X", "States": {"X": {"Type": "Pass", "Next": "A"}}}), "target: A"),
    (23, states({"Type": "Pass"}), "This object should have only one of the following fields: [Next, End]"),
    (24, states({"Type": "Pass", "Next": "B", "End": True}, B=END), ONE_FIELD + "[Next, End]"),
    (25, passing(End="true"), "Expected value of type [BOOLEAN]"),
    (26, passing(End=False), "This object should have only one of the following fields: [Next, End]"),
    (27, states(END, B=END), 'State "B" is not reachable.'),
    (
        28,
        states({"Type": "Pass", "Next": "B"}, B={"Type": "Pass", "Next": "A"}),
        "Workflow has no terminal state",
    ),
    (29, choice([{**RULE, "Next": "B"}], Next="B"), "Field 'Next' is not supported"),
    (30, choice([{**RULE, "Next": "B"}], End=True), "Field 'End' is not supported"),
    (31, succeed(Next="A"), "Field 'Next' is not supported"),
    (32, fail(End=True), "Field 'End' is not supported"),
    (33, states({"Type": "Task", "End": True}), "These fields are required: [Resource]"),
    (34, task(Resource=1), "Expected value of type [STRING]"),
    (35, task(Resource="my-function"), "Value is not a valid resource ARN"),
    (36, task(Resource="arn:aws:states:::sqs:fly"), "The resource provided arn:aws:states:::sqs:fly is not recog"),
    (36, task(Resource="arn:aws:states:::aws-sdk:nosuch:getItem"), "is not recognized"),
    (37, task(Resource=LAMBDA + ":a b"), "is not recognized"),
    (38, task(TimeoutSeconds=0), "Minimum value is 1"),
    (38, task(TimeoutSeconds=1.5), "Expected value of type Integer"),
    (39, task(TimeoutSeconds="60"), "Expected value of type Integer"),
    (40, task(TimeoutSeconds=1, TimeoutSecondsPath="$.t"), ONE_FIELD + "[TimeoutSeconds, TimeoutSecondsPath]"),
    (
        41,
        task(HeartbeatSeconds=1, HeartbeatSecondsPath="$.t"),
        ONE_FIELD + "[HeartbeatSeconds, HeartbeatSecondsPath]",
    ),
    (42, task(TimeoutSeconds=10, HeartbeatSeconds=10), "HeartbeatSeconds must be smaller than TimeoutSeconds"),
    (43, task(TimeoutSecondsPath="t"), "Value is not a Reference Path"),
    (44, task(Credentials="role"), "Expected value of type [OBJECT]"),
    (45, task(Credentials={}), "The field 'RoleArn' is required but was missing"),
    (46, choice([{**RULE, "Next": "B"}], Parameters={}), "Field 'Parameters' is not supported"),
    (47, wait(Seconds=1, Parameters={}), "Field 'Parameters' is not supported"),
    (48, succeed(Parameters={}), "Field 'Parameters' is not supported"),
    (49, wait(Seconds=1, ResultPath="$"), "Field 'ResultPath' is not supported"),
    (50, choice([{**RULE, "Next": "B"}], ResultPath="$"), "Field 'ResultPath' is not supported"),
    (51, fail(ResultPath="$"), "Field 'ResultPath' is not supported"),
    (52, passing(ResultSelector={}), "Field 'ResultSelector' is not supported"),
    (53, fail(InputPath="$"), "Field 'InputPath' is not supported"),
    (54, task(Result=1), "Field 'Result' is not supported"),
    (55, passing(InputPath="x"), "Value must be a valid JSONPath."),
    (56, passing(OutputPath="x"), "Value must be a valid JSONPath."),
    (57, passing(InputPath="States.Array(1)"), "Value must be a valid JSONPath."),
    (58, passing(InputPath="$.a[0"), "Value must be a valid JSONPath."),
    (59, passing(ResultPath="$.a[*]"), "Value is not a Reference Path"),
    (60, passing(ResultPath="$.a[?(@.b==1)]"), "Value is not a Reference Path"),
    (61, passing(ResultPath="$..a"), "Value is not a Reference Path"),
    (62, passing(ResultPath="$$.a"), "Value is not a Reference Path"),
    (63, passing(ResultPath="$a"), "Value is not a Reference Path"),
    (64, mapping(ItemsPath=None), "Value is not a Reference Path"),
    (65, template(dollar_x="plain"), f"The value for the field 'x.$' {NOT_A_CALL}"),
    (66, template(dollar_x=1), f"The value for the field 'x.$' {NOT_A_CALL}"),
    (67, passing(Parameters={"l": [{"x.$": "plain"}]}), f"The value for the field 'x.$' {NOT_A_CALL}"),
    (68, template(dollar_x="$.a", x=1), "The fields 'x' and 'x.$' cannot be used together"),
    (69, template(dollar_x="States.Foo($)"), NOT_A_CALL),
    (70, template(dollar_x="States.Array($"), NOT_A_CALL),
    (71, template(dollar_x=" States.Array($)"), NOT_A_CALL),
    (73, template(dollar_x="States.StringToJson('\\\"')"), NOT_A_CALL),
    (74, task(ResultSelector={"x.$": "plain"}), NOT_A_CALL),
    (75, states({"Type": "Choice", "Default": "B"}, B=END), "These fields are required: [Choices]"),
    (76, choice([]), "Value cannot be empty"),
    (77, choice([RULE]), "These fields are required: [Next]"),
    (78, choice([{**RULE, "Next": "Z"}]), "Missing 'Next' target: Z"),
    (79, states({"Type": "Choice", "Choices": [{**RULE, "Next": "B"}], "Default": "Z"}, B=END), "target: Z"),
    (80, rule(StringEquals="y"), "The object must have only one of the following fields, [And, Or, Not, Var"),
    (81, rule(Variable="$.x"), "This object should have only one of the following fields"),
    (82, rule(**RULE, NumericEquals=1), ONE_FIELD + "[StringEquals, NumericEquals]"),
    (83, rule(Variable="$.x", StringLike="y"), "Field 'StringLike' is not supported"),
    (84, rule(Variable="x", StringEquals="y"), "Reference path didn't start with '$'"),
    (85, rule(Variable="$.x", StringEquals=1), "Expected value of type [STRING]"),
    (86, rule(Variable="$.x", NumericEquals="1"), "Expected value of type Double"),
    (87, rule(Variable="$.x", BooleanEquals="true"), "Expected value of type [BOOLEAN]"),
    (88, rule(Variable="$.x", TimestampEquals="today"), "String does not match RFC3339 timestamp"),
    (89, rule(Variable="$.x", IsNull="yes"), "Expected value of type [BOOLEAN]"),
    (90, rule(Variable="$.x", StringEqualsPath="y"), "Reference path didn't start with '$'"),
    (91, rule(And=[]), "Value cannot be empty"),
    (91, rule(Or=RULE), "Expected value of type [ARRAY]"),
    (92, rule(Not=[RULE]), "Expected value of type [OBJECT]"),
    (93, rule(Not={**RULE, "Next": "B"}), "Field 'Next' is not supported"),
    (94, wait(), "[SecondsPath, Seconds, TimestampPath, Timestamp]"),
    (95, wait(Seconds=1, SecondsPath="$.s"), ONE_FIELD + "[SecondsPath, Seconds, TimestampPath, Timestamp]"),
    (96, wait(Seconds=1.5), "Expected value of type Integer"),
    (97, wait(Seconds=-1), "Minimum value is 0"),
    (98, wait(Seconds=100_000_000), "Maximum value is 99999999"),
    (99, wait(Timestamp="2016-12-05 21:29:29Z"), "String does not match RFC3339 timestamp"),
    (100, wait(Timestamp="2016-12-05T21:29:29"), "String does not match RFC3339 timestamp"),
    (101, wait(Timestamp="2016-13-05T21:29:29Z"), "String does not match RFC3339 timestamp"),
    (102, fail(Error="E", ErrorPath="$.e"), ONE_FIELD + "[Error, ErrorPath]"),
    (103, fail(Cause="C", CausePath="$.c"), ONE_FIELD + "[Cause, CausePath]"),
    (104, fail(Error=1), "Expected value of type [STRING]"),
    (105, fail(ErrorPath="States.Array('a')"), NOT_A_CALL),
    (106, states({"Type": "Parallel", "End": True}), "These fields are required: [Branches]"),
    (107, parallel([]), "Value cannot be empty"),
    (108, parallel(["X"]), "Expected value of type [OBJECT]"),
    (109, parallel([{**branch(), "StartAt": "Z"}]), "Missing 'Next' target: Z"),
    (110, parallel([{"StartAt": "X"}]), "These fields are required: [States]"),
    (111, states({"Type": "Map", "End": True}), "[ItemProcessor, Iterator]"),
    (112, mapping(Iterator=branch("Y")), ONE_FIELD + "[ItemProcessor, Iterator]"),
    (113, mapping(Parameters={}, ItemSelector={}), ONE_FIELD + "[ItemSelector, Parameters]"),
    (114, mapping(MaxConcurrency=-1), "Minimum value is 0"),
    (115, mapping(MaxConcurrency="1"), "Expected value of type Integer"),
    (116, mapping(MaxConcurrency=1, MaxConcurrencyPath="$.n"), ONE_FIELD),
    (117, mapping(config={"Mode": "FOO"}), "Value should be one of the following: [INLINE, DISTRIBUTED]"),
    (118, mapping(config={"Mode": "DISTRIBUTED"}), "These fields are required: [ExecutionType]"),
    (119, mapping(ItemReader=READER), "Field 'ItemReader' is not supported"),
    (120, mapping(distributed=True, ItemReader={"Parameters": {}}), "These fields are required: [Resource]"),
    (
        121,
        mapping(distributed=True, ItemReader={**READER, "ReaderConfig": {"InputType": "XML"}}),
        "Value should be one of the following: [CSV, JSON, JSONL, PARQUET, MANIFEST]",
    ),
    (
        122,
        mapping(
            distributed=True,
            ItemReader={**READER, "ReaderConfig": {"InputType": "JSON", "MaxItems": 1, "MaxItemsPath": "$.n"}},
        ),
        ONE_FIELD + "[MaxItems, MaxItemsPath]",
    ),
    (
        123,
        mapping(distributed=True, ItemBatcher={"MaxItemsPerBatch": 1, "MaxItemsPerBatchPath": "$.n"}),
        ONE_FIELD + "[MaxItemsPerBatch, MaxItemsPerBatchPath]",
    ),
    (124, mapping(distributed=True, ToleratedFailurePercentage=101), "Maximum value is 100.0"),
    (125, mapping(distributed=True, ToleratedFailureCount=1, ToleratedFailureCountPath="$.n"), ONE_FIELD),
    (126, mapping(distributed=True, Label="x" * 41), f"Invalid Label name: Label '{'x' * 41}' exceeds the 40-"),
    (127, mapping(distributed=True, Label="a/b"), "contains the invalid character '/'"),
    (128, mapping(Items=[1], ItemsPath="$.a"), "field 'Items' is only supported for the 'JSONata'"),
    (129, mapping(distributed=True, ResultWriter={"Parameters": {}}), "These fields are required: [Resource]"),
    (130, task(Retry={}), "Expected value of type [ARRAY]"),
    (131, task(Retry=[{}]), "These fields are required: [ErrorEquals]"),
    (132, task(Retry=[{"ErrorEquals": []}]), "Value cannot be empty"),
    (133, task(Retry=[{"ErrorEquals": [1]}]), "Expected value of type [STRING]"),
    (134, task(Retry=[{"ErrorEquals": ["States.ALL", "E"]}]), "States.ALL must appear alone and at end of list"),
    (
        135,
        task(Retry=[{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}]),
        "States.ALL must appear alone and at end of list",
    ),
    (136, retry(IntervalSeconds=-1), "Minimum value is 0"),
    (136, retry(IntervalSeconds=1.5), "Expected value of type Integer"),
    (137, retry(MaxAttempts=-1), "Minimum value is 0"),
    (138, retry(BackoffRate=0.5), "Minimum value is 1.0"),
    (139, retry(BackoffRate="2"), "Expected value of type Double"),
    (140, retry(MaxDelaySeconds=0), "Minimum value is 1"),
    (141, retry(JitterStrategy="HALF"), "Value should be one of the following: [NONE, FULL]"),
    (142, retry(Foo=1), "Field 'Foo' is not supported"),
    (143, passing(Retry=[]), "Field 'Retry' is not supported"),
    (144, task(Catch=[{"ErrorEquals": ["E"]}]), "These fields are required: [Next]"),
    (145, task(Catch=[{"ErrorEquals": ["E"], "Next": "Z"}]), "Missing 'Next' target: Z"),
    (146, catch({"Next": "B"}), "These fields are required: [ErrorEquals]"),
    (147, catch({"ErrorEquals": [], "Next": "B"}), "Value cannot be empty"),
    (
        148,
        catch({"ErrorEquals": ["States.ALL"], "Next": "B"}, {"ErrorEquals": ["E"], "Next": "B"}),
        "States.ALL must appear alone and at end of list",
    ),
    (149, catch({"ErrorEquals": ["E"], "Next": "B", "ResultPath": "$..x"}), "Value is not a Reference Path"),
    (150, catch({"ErrorEquals": ["E"], "Next": "B", "Foo": 1}), "Field 'Foo' is not supported"),
    (151, wait(Seconds=1, Catch=[]), "Field 'Catch' is not supported"),
    (153, jsonata(task(Parameters={})), "field 'Parameters' is only supported for the 'JSONPath' QueryLanguage"),
    (154, jsonata(task(ResultPath="$")), "field 'ResultPath' is only supported for the 'JSONPath' QueryLanguage"),
    (155, jsonata(passing(InputPath="$")), "field 'InputPath' is only supported for the 'JSONPath' QueryLanguage"),
    (156, jsonata(rule(**RULE)), "field 'Variable' is only supported for the 'JSONPath' QueryLanguage"),
    (157, jsonata(rule()), "These fields are required: [Condition]"),
    (158, task(Arguments={}), "field 'Arguments' is only supported for the 'JSONata' QueryLanguage"),
    (159, passing(Output=1), "field 'Output' is only supported for the 'JSONata' QueryLanguage"),
    (160, rule(Condition="{% true %}"), "field 'Condition' is only supported for the 'JSONata' QueryLanguage"),
    (163, wait(Timestamp="{% $now() %}"), "String does not match RFC3339 timestamp"),
    (164, jsonata(wait(Seconds="10")), "Expected value of type Integer"),
    (165, passing(Assign=[]), "Expected value of type [OBJECT]"),
    (166, fail(Assign={}), "Field 'Assign' is not supported"),
    (167, passing(Assign={"1x": 1}), "Invalid variable name '1x': the variable name contains invalid characters."),
    (168, passing(Assign={"states": 1}), "Cannot assign to reserved variable '$states'."),
]

# Rules of JSONata expressions: the finding is of the expression, and says what the parser says.
EXPRESSIONS: list[tuple[int, str]] = [(161, "{% 1 + %}"), (162, "{% (1 %}")]

# A broken transition also leaves something behind it unreached or without an end, as AWS reports it too [A].
WITH_COMPANY = {4, 20, 21, 22, 109, 145}


def _errors(definition: dict[str, Any], **options: Any) -> list[str]:
    return [item.message for item in validate(definition, **options) if item.severity == "ERROR"]


@pytest.mark.parametrize(("number", "definition", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_each_rule_is_reported_once_and_alone(number: int, definition: dict[str, Any], message: str) -> None:
    errors = _errors(definition)
    assert sum(message in error for error in errors) == 1, errors
    if number not in WITH_COMPANY:
        assert len(errors) == 1, errors


@pytest.mark.parametrize(("number", "text"), EXPRESSIONS)
def test_an_expression_that_does_not_parse_is_refused_where_it_stands(number: int, text: str) -> None:
    found = validate(jsonata(passing(Output={"v": text})))
    assert [(item.code, item.pointer) for item in found] == [("INVALID_JSONATA_EXPRESSION", "/States/A/Output/v")]


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (
            "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            "Express state machine does not support '.waitForTaskToken' service integration ",
        ),
        (
            "arn:aws:states:::ecs:runTask.sync",
            "Express state machine does not support '.sync' service integration",
        ),
        (
            "arn:aws:states:::states:startExecution.sync:2",
            "Express state machine does not support '.sync' service integration",
        ),
        (
            "arn:aws:states:us-east-1:123456789012:activity:a",
            "Express state machine does not support Activity ARN",
        ),
    ],
)
def test_what_an_express_machine_may_not_call_is_fine_in_a_standard_one(resource: str, message: str) -> None:
    definition = task(Resource=resource, Parameters={})
    assert _errors(definition, type="EXPRESS") == [message]
    assert _errors(definition) == []


def test_an_express_machine_has_no_distributed_map() -> None:
    definition = mapping(distributed=True)
    message = "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines"
    assert _errors(definition, type="EXPRESS") == [message]
    assert _errors(definition) == []


def _distributed(execution_type: str, child: dict[str, Any]) -> dict[str, Any]:
    processor = {**child, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": execution_type}}
    return states({"Type": "Map", "ItemProcessor": processor, "End": True})


def test_express_children_of_a_map_may_do_what_express_machines_may_and_no_more() -> None:
    waiting = {"Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "Parameters": {}}
    child = {"StartAt": "X", "States": {"X": {**task(**waiting)["States"]["A"]}}}
    message = "Express state machine does not support '.waitForTaskToken' service integration "
    assert _errors(_distributed("EXPRESS", child)) == [message]
    assert _errors(_distributed("STANDARD", child)) == []
    inner = _distributed("STANDARD", branch())["States"]["A"]
    nested = {"StartAt": "M", "States": {"M": inner}}
    message = "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines"
    assert _errors(_distributed("EXPRESS", nested)) == [message]


@pytest.mark.parametrize("resource", ["arn:aws:states:::lambda:invoke", "arn:aws:states:::aws-sdk:s3:listBuckets"])
def test_an_integration_needs_parameters_or_arguments(resource: str) -> None:
    missing = task(Resource=resource)
    for language, name in (("JSONPath", "Parameters"), ("JSONata", "Arguments")):
        found = validate({"QueryLanguage": language, **missing})
        message = f"{name} field is required for resource ARN: {resource}"
        assert [(item.severity, item.message, item.pointer) for item in found] == [
            ("ERROR", message, "/States/A/Resource")
        ]


def test_a_retry_may_follow_at_once() -> None:
    assert _errors(retry(IntervalSeconds=0)) == []


def test_names_in_error_equals_are_not_refused() -> None:
    found = validate(retry(ErrorEquals=["States.Foo", "State.ALL"]))
    assert [(item.severity, item.code) for item in found] == [("WARNING", "UNKNOWN_ERROR_NAME")]


def test_every_rule_of_the_list_has_a_definition_here() -> None:
    seen = {number for number, _, _ in REFUSED} | {number for number, _ in EXPRESSIONS}
    # Error names are not checked, a wrong count of arguments is a warning; Express has its own tests.
    assert seen == set(range(1, 170)) - {72, 152, 169}
