"""Runs the reference implementation's own suite on both engines: `python -m tests.jsonata_suite [DIR] [-v]`.

DIR holds `groups/` and `datasets/`; by default `../shared/conformance/jsonata` beside the project. Cases outside
AWS's dialect are left out by rule, and counted with the rule. Exits with 1 when an engine falls below its mark.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asfn.language.jsonata.failures import (
    MEMORY_LIMIT,
    STACK_LIMIT,
    TIME_LIMIT,
    EvaluationFailed,
    JsonataSyntaxError,
    UnsupportedResult,
)
from asfn.language.jsonata.pure import PureProgram
from asfn.language.jsonata.seam import UNDEFINED, Limits
from asfn.language.jsonata.syntax import Syntax, analyse

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "conformance" / "jsonata"
MARKS = {"rust": 1.0, "pure": 0.985}
AWS_DEPTH = 100
LIMIT_CODES = {"U1001", "U1002", "D1011", "D1012", "D2014", "D2015"}


class Surroundings:
    """An environment without variables, at a fixed time."""

    context: Any = None
    now = time.time()  # the suite asks for today's date

    def variable(self, name: str) -> Any:
        raise KeyError(name)

    def random(self) -> float:
        return 0.25

    def uuid(self) -> str:
        return "00000000-0000-4000-8000-000000000000"


@dataclass
class Case:
    """One case of the suite. data is UNDEFINED when it has none."""

    name: str
    source: str
    data: Any
    bindings: dict[str, Any]
    expected: dict[str, Any]


@dataclass
class Report:
    """Counts of one engine."""

    passed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.passed / max(1, self.passed + len(self.failed))


def cases(directory: Path) -> Iterator[Case]:
    """All cases below `groups/`."""
    for path in sorted((directory / "groups").glob("*/*.json")):
        listed = json.loads(path.read_text("utf-8"))
        for index, raw in enumerate(listed if isinstance(listed, list) else [listed]):
            source = raw["expr"] if "expr" in raw else (path.parent / raw["expr-file"]).read_text("utf-8")
            data: Any = UNDEFINED
            if raw.get("dataset"):
                data = json.loads((directory / "datasets" / f"{raw['dataset']}.json").read_text("utf-8"))
            elif "data" in raw:
                data = raw["data"]
            name = f"{path.parent.name}/{path.stem}" + (f"[{index}]" if isinstance(listed, list) else "")
            yield Case(name, source, data, raw.get("bindings") or {}, raw)


def outside_the_dialect(case: Case) -> str | None:
    """Why AWS's dialect, or a state machine, has no such case; None when it has."""
    text = re.sub(r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])*'|/\*.*?\*/", '""', case.source, flags=re.DOTALL)
    if "??" in text or "?:" in text:
        return "operators newer than 2.0.6"
    if "$eval" in text:
        return "$eval"
    if re.search(r"\.\.\s*\d{7,}", text) and "code" not in case.expected:
        return "lists longer than AWS allows"
    if isinstance(case.data, list):
        return "a list as the document"
    if case.data is UNDEFINED and "undefinedResult" in case.expected and analyse(case.source).top_level:
        return "reads a document where there is none"
    if case.expected.get("depth", 0) > AWS_DEPTH and "result" in case.expected:
        return "recursion deeper than AWS allows"
    return None


def run(case: Case, engine: str) -> str | None:
    """What is wrong with an engine's answer; None when it is right."""
    expected = case.expected
    limits = Limits(
        seconds=max(5.0, expected.get("timelimit", 0) / 1_000),
        native_seconds=5.0,
        depth=expected.get("depth") or 500,
    )
    code = expected.get("code") or (expected.get("error") or {}).get("code")
    try:
        result = answer(case, engine, analyse(case.source), limits)
    except JsonataSyntaxError as error:
        return None if error.code == code else f"refused: {error}"
    except UnsupportedResult:
        return None if "undefinedResult" in expected or expected.get("result", 0) is None else "a function"
    except EvaluationFailed as error:
        limit = error.code is None and error.message in (STACK_LIMIT, TIME_LIMIT, MEMORY_LIMIT)
        right = error.code == code or (limit and code in LIMIT_CODES)
        return None if right and code else f"failed: {error.code} {error.message}"
    if code:
        return f"expected {code}, got {short(result)}"
    if "undefinedResult" in expected:
        return None if result is UNDEFINED else f"expected undefined, got {short(result)}"
    if not same(result, expected.get("result"), "unordered" in expected):
        return f"expected {short(expected.get('result'))}, got {short(result)}"
    return None


def answer(case: Case, engine: str, syntax: Syntax, limits: Limits) -> Any:
    """An engine's result with the case's data as the context item."""
    env = Surroundings()
    if engine == "pure":
        return PureProgram(syntax).run(case.bindings, env, limits, case.data)
    from asfn.language.jsonata.rust import RustEngine, RustProgram

    if case.data is UNDEFINED:
        return RustEngine().program(syntax).run(case.bindings, env, limits)
    program = RustProgram(syntax)
    program._pure = WithDocument(syntax, case.data)  # it shall see the context item
    return program.evaluate(case.data, (), case.bindings, env, limits)


class WithDocument(PureProgram):
    """The pure engine at the side of the other one, with a context item."""

    def __init__(self, syntax: Syntax, document: Any) -> None:
        super().__init__(syntax)
        self.document = document

    def run(self, roots: Any, env: Any, limits: Limits, document: Any = UNDEFINED) -> Any:
        return super().run(roots, env, limits, self.document)


def same(actual: Any, expected: Any, unordered: bool) -> bool:
    """Whether two results are equal; numbers to 13 digits, as texts of both engines print them."""
    if unordered and isinstance(actual, list) and isinstance(expected, list):
        texts = [sorted(json.dumps(member, sort_keys=True) for member in value) for value in (actual, expected)]
        return texts[0] == texts[1]
    if isinstance(actual, bool) or isinstance(expected, bool):
        return actual is expected
    if isinstance(actual, (int, float)) and isinstance(expected, (int, float)):
        return math.isclose(actual, expected, rel_tol=1e-13)
    if isinstance(actual, list) and isinstance(expected, list):
        return len(actual) == len(expected) and all(same(a, e, False) for a, e in zip(actual, expected, strict=True))
    if isinstance(actual, dict) and isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(same(actual[k], expected[k], False) for k in actual)
    return bool(actual == expected)


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 90 else text[:87] + "..."


def survey(directory: Path, engine: str) -> Report:
    """Run every case of the suite on one engine."""
    report = Report()
    for case in cases(directory):
        reason = outside_the_dialect(case)
        if reason is not None:
            report.left_out[reason] += 1
            continue
        fault = run(case, engine)
        if fault is None:
            report.passed += 1
        else:
            report.failed.append(f"{case.name}: {fault}")
    return report


def main(arguments: list[str]) -> int:
    verbose = "-v" in arguments
    places = [Path(argument) for argument in arguments if not argument.startswith("-")]
    directory = places[0] if places else DEFAULT
    if not directory.is_dir():
        print(f"no suite at {directory}: nothing was run")
        return 0
    worst = 0
    print(f"{'engine':8} {'passed':>7} {'failed':>7} {'share':>7}  left out")
    for engine in ("rust", "pure"):
        report = survey(directory, engine)
        left_out = ", ".join(f"{count} {reason}" for reason, count in report.left_out.items())
        print(f"{engine:8} {report.passed:7} {len(report.failed):7} {report.share:7.1%}  {left_out}")
        if verbose:
            for line in report.failed:
                print("   ", line)
        worst = max(worst, int(report.share < MARKS[engine]))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
