"""What a Task's Resource may name: ARNs taken apart, and the integrations that AWS offers.

Facts only: `tasks/` decides who answers a resource, `validation/` what to say about one that nobody offers.
Source: integrations.md sections 1 and 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, cast

from asfn.language.sdk_services import SDK_SERVICES

Kind = Literal["lambda", "activity", "optimised", "sdk"]
Pattern = Literal["", "sync", "sync:2", "waitForTaskToken"]
"""How a service is called: request and response, run a job, run a job with parsed output, callback."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A Resource ARN in its parts.

    service, action: of an integration, such as `sqs` and `sendMessage`; of a Lambda function or an activity
    the service is `lambda` or `states` and the action empty.   name: of the function or
    activity.   qualifier: version or alias of the function.   region, account: empty in integrations.
    """

    text: str
    kind: Kind
    partition: str
    region: str
    account: str
    service: str
    action: str = ""
    pattern: Pattern = ""
    name: str = ""
    qualifier: str | None = None


def _table(rows: str) -> dict[str, dict[str, frozenset[str]]]:
    """`service action[/patterns] …` per line; r, s, 2 and t stand for the patterns, r is the default."""
    letters = {"r": "", "s": "sync", "2": "sync:2", "t": "waitForTaskToken"}
    table: dict[str, dict[str, frozenset[str]]] = {}
    for row in rows.strip().splitlines():
        service, *actions = row.split()
        for action in actions:
            name, _, patterns = action.partition("/")
            found = frozenset(letters[letter] for letter in patterns or "r")
            table.setdefault(service, {})[name] = found
    return table


OPTIMISED: Final = _table("""
apigateway invoke/rt
athena startQueryExecution/rs stopQueryExecution getQueryExecution getQueryResults
batch submitJob/rs
bedrock invokeModel/rt createModelCustomizationJob/rs
bedrock-agentcore invokeAgentRuntime
codebuild startBuild/rs startBuildBatch/rs retryBuildBatch/rs stopBuild stopBuildBatch batchDeleteBuilds
codebuild deleteBuildBatch batchGetReports
databrew startJobRun/rs
dynamodb getItem putItem updateItem deleteItem
ecs runTask/rst
eks createCluster/rs deleteCluster/rs createFargateProfile/rs deleteFargateProfile/rs createNodegroup/rs
eks deleteNodegroup/rs runJob/rst call/rt
elasticmapreduce createCluster/rs terminateCluster/rs addStep/rs cancelStep setClusterTerminationProtection
elasticmapreduce modifyInstanceFleetByName modifyInstanceGroupByName
emr-containers createVirtualCluster deleteVirtualCluster/rs startJobRun/rs
emr-serverless createApplication/rs startApplication/rs stopApplication/rs deleteApplication/rs startJobRun/rs
emr-serverless cancelJobRun/rs
events putEvents/rt
glue startJobRun/rs
http invoke
lambda invoke/rt
mediaconvert createJob/rs
sagemaker createTrainingJob/rs createTransformJob/rs createProcessingJob/rs createHyperParameterTuningJob/rs
sagemaker createLabelingJob/rs createModel createEndpointConfig createEndpoint updateEndpoint
sns publish/rt
sqs sendMessage/rt
states startExecution/rs2t
""")
"""Optimised integrations: service -> action -> patterns, "" for request and response.

Callbacks of eks are in one of AWS's two tables [U], bedrock-agentcore is in neither [R]; both are taken.
"""

REQUIRED_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "apigateway:invoke": ("ApiEndpoint", "Method"),
    "athena:startQueryExecution": ("QueryString",),
    "batch:submitJob": ("JobDefinition", "JobName", "JobQueue"),
    "bedrock:invokeModel": ("ModelId",),
    "dynamodb:deleteItem": ("TableName", "Key"),
    "dynamodb:getItem": ("TableName", "Key"),
    "dynamodb:putItem": ("TableName", "Item"),
    "dynamodb:updateItem": ("TableName", "Key"),
    "ecs:runTask": ("TaskDefinition",),
    "events:putEvents": ("Entries",),
    "glue:startJobRun": ("JobName",),
    "http:invoke": ("ApiEndpoint", "Method"),
    "lambda:invoke": ("FunctionName",),
    "sns:publish": ("Message",),
    "sqs:sendMessage": ("QueueUrl", "MessageBody"),
    "states:startExecution": ("StateMachineArn",),
}
"""What the most used optimised actions cannot do without (their API's required members)."""

_PARTITION: Final = r"arn:(?P<partition>aws[a-z-]*)"
# Region and account are not looked at: AWS took `your-region:your-account-id` [A] (test_map_state_failure_count).
_LAMBDA: Final = re.compile(
    rf"{_PARTITION}:lambda:(?P<region>[^:\s]*):(?P<account>[^:\s]*):function:(?P<name>[A-Za-z0-9_.-]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[A-Za-z0-9_-]+))?"
)
_ACTIVITY: Final = re.compile(
    rf"{_PARTITION}:states:(?P<region>[^:\s]+):(?P<account>[^:\s]+):activity:(?P<name>[^\s:]{{1,80}})"
)
_INTEGRATION: Final = re.compile(
    rf"{_PARTITION}:states:(?P<region>[^:\s]*):(?P<account>[^:\s]*):(?P<sdk>aws-sdk:)?"
    r"(?P<service>[A-Za-z0-9-]+):(?P<action>[A-Za-z0-9]+)(?:\.(?P<pattern>sync:2|sync|waitForTaskToken))?"
)


@lru_cache(maxsize=1024)
def parse_resource(text: str) -> Resource | None:
    """A Resource in its parts, or None when no Task could call it. Whether AWS offers it: `is_offered`."""
    found = _LAMBDA.fullmatch(text)
    if found:
        part, region, account, name, qualifier = found.group("partition", "region", "account", "name", "qualifier")
        return Resource(text, "lambda", part, region, account, "lambda", name=name, qualifier=qualifier)
    found = _ACTIVITY.fullmatch(text)
    if found:
        part, region, account, name = found.group("partition", "region", "account", "name")
        return Resource(text, "activity", part, region, account, "states", name=name)
    found = _INTEGRATION.fullmatch(text)
    if found is None:
        return None
    part, region, account, service, action = found.group("partition", "region", "account", "service", "action")
    kind: Kind = "sdk" if found["sdk"] else "optimised"
    return Resource(text, kind, part, region, account, service, action, cast("Pattern", found["pattern"] or ""))


def is_offered(resource: Resource) -> bool:
    """Whether AWS knows the integration. Actions of aws-sdk services are not listed: any is taken for one."""
    if resource.kind == "optimised":
        return resource.pattern in OPTIMISED.get(resource.service, {}).get(resource.action, ())
    if resource.kind == "sdk":
        return resource.service.lower() in SDK_SERVICES and resource.pattern in ("", "waitForTaskToken")
    return True


def known_integrations() -> list[str]:
    """Every optimised integration as it stands in an ARN behind `:states:::`, for suggestions."""
    return [
        f"{service}:{action}{f'.{pattern}' if pattern else ''}"
        for service, actions in OPTIMISED.items()
        for action, patterns in actions.items()
        for pattern in sorted(patterns)
    ]
