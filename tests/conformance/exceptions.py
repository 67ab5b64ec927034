"""Cases that are not judged, or not fully, each with its reason. By rule where a rule can say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.conformance.cases import states_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.cases import Case

# Id of the case -> why nobody can be judged by it.
SKIPPED_IDS: Final[dict[str, str]] = {
    "scenarios/test_base_scenarios.py::TestBaseScenarios::test_map_item_reader_json_no_json_list_object": (
        "recorded in 2023; an object as JSON file is an allowed item source since"
    ),
}


def _distributed(case: Case) -> bool:
    processors = (
        state.get("ItemProcessor") or state.get("Iterator") or {}
        for state in states_in(case.data.get("definition"))
        if state.get("Type") == "Map"
    )
    return case.kind not in ("validation", "test_state") and any(
        processor.get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED" for processor in processors
    )


def _not_about_a_definition(case: Case) -> bool:
    if case.kind != "validation" or "error" not in case.expected:
        return False
    return bool(case.expected["error"]["code"] != "InvalidDefinition")


# What no run can judge, or what the engine does not have yet. The first rule that holds gives the reason.
RULES: Final[tuple[tuple[Callable[[Case], bool], str], ...]] = (
    (lambda case: case.kind == "api", "the AWS API is a later issue"),
    (_not_about_a_definition, "the AWS API is a later issue"),
    (
        lambda case: case.kind in ("execution", "express_sync") and case.status is None,
        "the recording stops before the execution ends",
    ),
    (_distributed, "Distributed Map is a later issue"),
)


def why_skipped(case: Case) -> str | None:
    """Why the case is not run; None when it is."""
    if case.id in SKIPPED_IDS:
        return SKIPPED_IDS[case.id]
    return next((reason for holds, reason in RULES if holds(case)), None)
