"""Whether a made-up answer of a service could be one: checked against the service's API model, for TestState's mocks.

The models are botocore's, loaded on use. Members go by Step Functions' names: as the model has them with an upper case
first letter, or, for `aws-sdk` integrations, as AWS's Java SDK would name them. Source: api.md section 9, [A] where the
rules are recorded; nothing is known of patterns and list sizes, which are not checked [U].
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, JsonObject
    from asfn.arn import TaskResource

Mode = Literal["STRICT", "PRESENT", "NONE"]
_Shape = Any  # Any: botocore's model classes have no types

# Optimised service -> its API in botocore, where the two names differ.
_OPTIMISED_APIS: Final = {"states": "stepfunctions", "elasticmapreduce": "emr"}
_OPTIMISED_OPERATIONS: Final = {
    "bedrock:invokeModel": ("bedrock-runtime", "InvokeModel"),
    "elasticmapreduce:createCluster": ("emr", "RunJobFlow"),
    "elasticmapreduce:addStep": ("emr", "AddJobFlowSteps"),
    "elasticmapreduce:cancelStep": ("emr", "CancelSteps"),
    "elasticmapreduce:terminateCluster": ("emr", "TerminateJobFlows"),
    "elasticmapreduce:setClusterTerminationProtection": ("emr", "SetTerminationProtection"),
    "elasticmapreduce:modifyInstanceFleetByName": ("emr", "ModifyInstanceFleet"),
    "elasticmapreduce:modifyInstanceGroupByName": ("emr", "ModifyInstanceGroups"),
}
# What an optimised integration makes of the answer on its own, so that the API's model says nothing about it.
_REMADE: Final = frozenset(
    {"elasticmapreduce:createCluster", "elasticmapreduce:addStep", "elasticmapreduce:cancelStep"}
)

# `.sync`: the describe call whose answer is the result, and the member of it that is shown alone (integrations.md 4.2).
_DESCRIBED: Final[dict[str, tuple[str, str, str | None]]] = {
    "athena:startQueryExecution": ("athena", "GetQueryExecution", None),
    "batch:submitJob": ("batch", "DescribeJobs", "jobs"),
    "bedrock:createModelCustomizationJob": ("bedrock", "GetModelCustomizationJob", None),
    "codebuild:startBuild": ("codebuild", "BatchGetBuilds", None),
    "codebuild:startBuildBatch": ("codebuild", "BatchGetBuildBatches", None),
    "codebuild:retryBuildBatch": ("codebuild", "BatchGetBuildBatches", None),
    "ecs:runTask": ("ecs", "DescribeTasks", "tasks"),
    "emr-containers:startJobRun": ("emr-containers", "DescribeJobRun", None),
    "emr-serverless:startJobRun": ("emr-serverless", "GetJobRun", None),
    "emr-serverless:createApplication": ("emr-serverless", "GetApplication", None),
    "glue:startJobRun": ("glue", "GetJobRun", "JobRun"),
    "mediaconvert:createJob": ("mediaconvert", "GetJob", None),
    "sagemaker:createTrainingJob": ("sagemaker", "DescribeTrainingJob", None),
    "sagemaker:createTransformJob": ("sagemaker", "DescribeTransformJob", None),
    "sagemaker:createProcessingJob": ("sagemaker", "DescribeProcessingJob", None),
    "sagemaker:createHyperParameterTuningJob": ("sagemaker", "DescribeHyperParameterTuningJob", None),
    "sagemaker:createLabelingJob": ("sagemaker", "DescribeLabelingJob", None),
    "states:startExecution": ("stepfunctions", "DescribeExecution", None),
}
# Members whose text the integration has parsed: any JSON may stand there (integrations.md sections 5 and 7).
_PARSED: Final = {
    "lambda:invoke": frozenset({"Payload"}),
    "bedrock:invokeModel": frozenset({"Body"}),
    "states:startExecution.sync:2": frozenset({"Input", "Output"}),
}

# `aws-sdk:<name>` -> botocore's folder, where that is not the name without hyphens. Names: botocore 1.43.
_SDK_APIS: Final = {
    "applicationdiscovery": "discovery",
    "cloudwatchlogs": "logs",
    "cognitoidentityprovider": "cognito-idp",
    "costandusagereport": "cur",
    "costexplorer": "ce",
    "databasemigration": "dms",
    "directory": "ds",
    "directoryservicedata": "ds-data",
    "elasticloadbalancing": "elb",
    "elasticloadbalancingv2": "elbv2",
    "elasticsearch": "es",
    "eventbridge": "events",
    "iotdataplane": "iot-data",
    "iotjobsdataplane": "iot-jobs-data",
    "lexmodelbuilding": "lex-models",
    "lexmodelsv2": "lexv2-models",
    "lexruntimev2": "lexv2-runtime",
    "marketplacemetering": "meteringmarketplace",
    "migrationhub": "mgh",
    "pinpointsmsvoice": "sms-voice",
    "serverlessapplicationrepository": "serverlessrepo",
    "sfn": "stepfunctions",
    "simpledb": "sdb",
}

# Bounds that AWS checks where the model at hand has wider ones [A] (test_strict_mode_aws_sdk_lambda_get_function_task).
_NARROWER: Final = {("lambda", "MemorySize"): {"max": 10_240}}

_TEXTS: Final = frozenset({"string", "character", "timestamp", "blob"})
_NUMBERS: Final = frozenset({"integer", "long", "float", "double", "bigdecimal", "short", "byte"})


def answer_fault(resource: TaskResource, answer: Json, mode: Mode) -> str | None:
    """What makes `answer` impossible as the result of a Task; None when nothing does, or no model is known.

    STRICT wants the required members; PRESENT looks only at the members that are there; NONE at nothing.
    Unknown members are let through, as AWS does [A]. Shape of a fault: `Field 'StartDate' must be a string`.
    """
    if mode == "NONE" or resource.family != "service" or resource.pattern == "waitForTaskToken":
        return None
    found = _result_shape(resource)
    if found is None:
        return None
    api, shape = found
    sdk = resource.service.startswith("aws-sdk:")
    name = f"{resource.service}:{resource.action}"
    parsed = _PARSED.get(f"{name}.{resource.pattern}" if resource.pattern else name, frozenset())
    return _Checker(api, strict=mode == "STRICT", sdk=sdk, parsed=parsed).structure(shape, answer, None, top=True)


class _Checker:
    """Walks an answer beside its model; each method gives the first fault, or None."""

    def __init__(self, api: str, *, strict: bool, sdk: bool, parsed: frozenset[str]) -> None:
        self.api = api
        self.strict = strict
        self.member_name = java_name if sdk else upper_first
        self.parsed = parsed

    def structure(self, shape: _Shape, value: Json, name: str | None, *, top: bool = False) -> str | None:
        if not isinstance(value, dict):
            return f"Field '{name}' must be an object" if name is not None else "Mocked result must be an object"  # [U]
        members = {self.member_name(member): inner for member, inner in shape.members.items()}
        if self.strict:
            for required in shape.required_members:
                wanted = self.member_name(required)
                if value.get(wanted) is None:  # a null counts as missing [U]
                    return f"Required field '{wanted}' is missing"
        for key, member in value.items():
            if key not in members or member is None or (top and key in self.parsed):
                continue
            fault = self.value(members[key], member, key)
            if fault is not None:
                return fault
        return None

    def value(self, shape: _Shape, value: Json, name: str) -> str | None:
        kind: str = shape.type_name
        if getattr(shape, "is_document_type", False) or shape.serialization.get("jsonvalue"):
            return None
        if kind in _TEXTS:
            return self.text(shape, value, name)
        if kind in _NUMBERS:
            return _number_fault({**shape.metadata, **_NARROWER.get((self.api, shape.name), {})}, value, name)
        if kind == "boolean":
            return None if isinstance(value, bool) else f"Field '{name}' must be a boolean"  # [U] wording
        if kind == "structure":
            return self.structure(shape, value, name)
        if kind == "list":
            if not isinstance(value, list):
                return f"Field '{name}' must be an array"
            return self.first(shape.member, value, name)
        if kind == "map":
            if not isinstance(value, dict):
                return f"Field '{name}' must be an object"  # [U] wording
            return next(
                (fault for key, item in value.items() if (fault := self.item(shape.value, item, key)) is not None),
                None,
            )
        return None

    def first(self, shape: _Shape, items: list[Json], name: str) -> str | None:
        faults = (self.item(shape, item, name) for item in items)
        return next((fault for fault in faults if fault is not None), None)

    def item(self, shape: _Shape, value: Json, name: str) -> str | None:
        return None if value is None else self.value(shape, value, name)

    def text(self, shape: _Shape, value: Json, name: str) -> str | None:
        if not isinstance(value, str):
            return f"Field '{name}' must be a string"
        if shape.type_name == "string" and shape.enum and value not in shape.enum:
            return f"Field '{name}' is not an expected value"
        least, most = shape.metadata.get("min"), shape.metadata.get("max")
        if least is not None and len(value) < least:
            return f"Field '{name}' is smaller than the minimum length"
        if most is not None and len(value) > most:
            return f"Field '{name}' exceeds the maximum length"  # [U] wording, after that of the numbers
        return None


def _number_fault(bounds: Mapping[str, Any], value: Json, name: str) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"Field '{name}' must be a number"
    least, most = bounds.get("min"), bounds.get("max")
    if least is not None and value < least:
        return f"Field '{name}' is less than the minimum value"
    if most is not None and value > most:
        return f"Field '{name}' exceeds the maximum value"
    return None


def upper_first(name: str) -> str:
    """A member's name in the results of optimised integrations: `executionArn` is `ExecutionArn`."""
    return name[:1].upper() + name[1:]


@lru_cache(maxsize=4096)
def java_name(name: str) -> str:
    """A member's name in `aws-sdk` results: the Java SDK's, in upper camel case. `SSEKMSKeyId` is `SsekmsKeyId`."""
    words = re.sub(r"[^A-Za-z0-9]+", " ", name)
    words = re.sub(r"(?<=[a-z])(?=[A-Z][A-Za-z0-9])", " ", words)
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", words)
    words = re.sub(r"([0-9])([A-Za-z])", r"\1 \2", words)
    return "".join(word[:1].upper() + word[1:].lower() for word in words.split())


def _result_shape(resource: TaskResource) -> tuple[str, _Shape] | None:
    """The API of a Task's result and the model there; None where no model tells it."""
    name = f"{resource.service}:{resource.action}"
    member: str | None = None
    if resource.service.startswith("aws-sdk:"):
        service = resource.service.removeprefix("aws-sdk:")
        api, operation = _SDK_APIS.get(service, service), upper_first(resource.action)
    elif resource.pattern:
        if name not in _DESCRIBED:
            return None
        api, operation, member = _DESCRIBED[name]
    elif name in _REMADE:
        return None
    else:
        usual = (_OPTIMISED_APIS.get(resource.service, resource.service), upper_first(resource.action))
        api, operation = _OPTIMISED_OPERATIONS.get(name, usual)
    shape = _output_shape(api, operation)
    if shape is None or member is None:
        return (api, shape) if shape is not None else None
    inner = shape.members[member]
    return api, inner.member if inner.type_name == "list" else inner


@lru_cache(maxsize=64)
def _output_shape(api: str, operation: str) -> _Shape | None:
    model = _service_model(api)
    if model is None:
        return None
    found = next((name for name in model.operation_names if name.lower() == operation.lower()), None)
    return model.operation_model(found).output_shape if found is not None else None


@lru_cache(maxsize=16)
def _service_model(api: str) -> Any | None:  # Any: botocore's ServiceModel
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    loader = Loader()
    folders: dict[str, str] = {}
    for name in loader.list_available_services("service-2"):
        folders.setdefault(name.replace("-", ""), name)
        folders[name] = name
    folder = folders.get(api)
    if folder is None:
        return None
    definition: JsonObject = loader.load_service_model(folder, "service-2")
    return ServiceModel(definition, folder)
