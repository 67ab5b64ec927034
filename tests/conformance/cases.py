"""Reading recorded cases. A case is one JSON file, `<topic>/<name>.json`; its members are explained beside the data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROJECT: Final = Path(__file__).parents[2]
DEFAULT_DIRECTORY: Final = PROJECT.parent / "shared" / "conformance" / "asl"
_STATUS_BY_LAST_EVENT: Final = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionTimedOut": "TIMED_OUT",
    "ExecutionAborted": "ABORTED",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded case. data: the file as it is (Any: recorded JSON, looked into by key)."""

    id: str
    topic: str
    kind: str
    data: dict[str, Any]

    @property
    def expected(self) -> dict[str, Any]:
        """What AWS answered."""
        expected: dict[str, Any] = self.data.get("expected", {})
        return expected

    @property
    def status(self) -> str | None:
        """How the recorded execution ended; None when the recording does not say."""
        expected = self.expected
        status: str | None = expected.get("status") or expected.get("describe", {}).get("status")
        if status is None and expected.get("history"):
            status = _STATUS_BY_LAST_EVENT.get(expected["history"][-1]["type"])
        return status or ("SUCCEEDED" if "output" in expected else None)

    @property
    def confirmed(self) -> bool:
        """False for a recording that is not known to come from AWS: it is counted apart and fails no run."""
        return bool(self.data.get("aws_validated", True))


def load(directories: Iterable[Path]) -> list[Case]:
    """All cases below the directories, by file name. Raises FileNotFoundError, and ValueError naming a bad file."""
    cases: list[Case] = []
    for directory in directories:
        if not directory.is_dir():
            raise FileNotFoundError(f"no directory of cases at {directory}")
        cases += [_read(path) for path in sorted(directory.rglob("*.json"))]
    return cases


def _read(path: Path) -> Case:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Case(data["id"], path.parent.name, data["kind"], data)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not a conformance case: {error!r}") from error


def named_states(definition: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every state of a definition with its name, nested ones too."""
    if not isinstance(definition, dict):
        return
    states = definition.get("States")
    for name, state in states.items() if isinstance(states, dict) else ():
        if isinstance(state, dict):
            yield name, state
            for nested in (*(state.get("Branches") or ()), state.get("ItemProcessor"), state.get("Iterator")):
                yield from named_states(nested)


def states_in(definition: object) -> Iterator[dict[str, Any]]:
    """Every state of a definition, nested ones too."""
    for _, state in named_states(definition):
        yield state
