"""`python -m benchmarks.language [--json OUT] [--quick]`: what the language costs, beside yardsticks of the same run.

Compiling: every valid definition of ../shared/corpus read, checked and compiled, beside decoding its JSON alone.
A transition: one Pass or Choice state begun with a reference path, a filter, a deep scan, JSONata, and JSONata that
does not touch a 200 KB state input, beside the same work written by hand in Python.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asfn._json import Payload, decode
from asfn.language.reader import load, read_document
from asfn.language.validate import validate
from asfn.limits import Limits
from asfn.plan.scope import ExecutionFacts, Scope
from asfn.plan.states import compile_machine

CORPUS = Path(__file__).parents[1].parent / "shared" / "corpus"


@dataclass
class Row:
    """One figure. value and yardstick in the same unit; ratio: how many times the yardstick it costs."""

    name: str
    value: float
    unit: str
    yardstick: float
    ratio: float


def best_seconds(work: Callable[[], object], repeats: int, rounds: int) -> float:
    """Seconds for one call, the best of several rounds."""
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        best = min(best, time.perf_counter() - start)
    return best / repeats


def corpus() -> list[tuple[str, str]]:
    """Text and machine type of the definitions that pass the validator; empty where the corpus is absent."""
    found = []
    for path in sorted(CORPUS.glob("*.json")):
        case = json.loads(path.read_text())
        text, type_ = json.dumps(case["definition"]), case.get("machine_type", "STANDARD")
        if case["verdict"] == "valid" and all(finding.severity != "ERROR" for finding in validate(read_document(text))):
            found.append((text, type_))
    return found


def measure_compiling(quick: bool) -> list[Row]:
    definitions = corpus()[: 100 if quick else None]
    if not definitions:
        print("../shared/corpus is absent: compiling is not measured")
        return []

    def compile_all() -> None:
        for text, type_ in definitions:
            compile_machine(load(text, type="EXPRESS" if type_ == "EXPRESS" else "STANDARD"), Limits.aws())

    def decode_all() -> None:
        for text, _ in definitions:
            decode(text)

    count, rounds = len(definitions), 1 if quick else 3
    ours = best_seconds(compile_all, 1, rounds) / count
    yardstick = best_seconds(decode_all, 1, rounds) / count
    return [
        Row("read, check and compile", 1 / ours, "definitions/s", 1 / yardstick, ours / yardstick),
    ]


def scope(value: Any) -> Scope:
    facts = ExecutionFacts("arn:x", "x", "role", 0.0, Payload(value), "arn:m", "m")
    made = Scope(facts, Payload(value), random.Random(1))
    made.state_name = "S"
    return made


def measure_state(name: str, state: dict[str, Any], value: Any, by_hand: Callable[[Any], Any], quick: bool) -> Row:
    machine = {"StartAt": "S", "States": {"S": state, "N": {"Type": "Succeed"}}}
    begin = compile_machine(load(machine), Limits.aws()).states["S"].begin
    surroundings = scope(value)
    repeats, rounds = (200, 2) if quick else (5_000, 5)
    ours = best_seconds(lambda: begin(surroundings), repeats, rounds)
    yardstick = best_seconds(lambda: by_hand(value), repeats, rounds)
    return Row(name, ours * 1e6, "us/transition", yardstick * 1e6, ours / yardstick)


def measure_transitions(quick: bool) -> list[Row]:
    order = {"order": {"lines": [{"sku": f"s{n}", "price": n} for n in range(10)], "id": 7}}
    large = {"order": order["order"], "ballast": [{"text": "x" * 190} for _ in range(1_000)]}
    jsonata = {"QueryLanguage": "JSONata", "Type": "Pass", "Next": "N"}
    total = "{% $sum($states.input.order.lines[price > 4].price) %}"

    def add(value: Any) -> Any:
        return sum(line["price"] for line in value["order"]["lines"] if line["price"] > 4)

    def below(value: Any) -> list[Any]:
        found = [value.get("price")] if isinstance(value, dict) else []
        for child in value.values() if isinstance(value, dict) else value:
            if isinstance(child, (dict, list)):
                found += below(child)
        return found

    return [
        measure_state(
            "reference path",
            {"Type": "Pass", "Parameters": {"id.$": "$.order.id"}, "Next": "N"},
            order,
            lambda value: {"id": value["order"]["id"]},
            quick,
        ),
        measure_state(
            "filter",
            {"Type": "Pass", "Parameters": {"cheap.$": "$.order.lines[?(@.price < 5)].sku"}, "Next": "N"},
            order,
            lambda value: {"cheap": [line["sku"] for line in value["order"]["lines"] if line["price"] < 5]},
            quick,
        ),
        measure_state(
            "deep scan",
            {"Type": "Pass", "Parameters": {"all.$": "$..price"}, "Next": "N"},
            order,
            lambda value: {"all": [price for price in below(value) if price is not None]},
            quick,
        ),
        measure_state(
            "JSONata path",
            {**jsonata, "Output": {"id": "{% $states.input.order.id %}"}},
            order,
            lambda value: {"id": value["order"]["id"]},
            quick,
        ),
        measure_state("JSONata sum of a filter", {**jsonata, "Output": {"sum": total}}, order, add, quick),
        measure_state("JSONata sum, 200 KB beside it", {**jsonata, "Output": {"sum": total}}, large, add, quick),
        measure_state(
            "Choice, third rule",
            {
                "Type": "Choice",
                "Choices": [{"Variable": "$.order.id", "NumericEquals": n, "Next": "N"} for n in (1, 2, 7)],
            },
            order,
            lambda value: next(n for n in (1, 2, 7) if value["order"]["id"] == n),
            quick,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language", description=__doc__)
    parser.add_argument("--json", metavar="OUT", help="write the rows to this file")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it runs")
    options = parser.parse_args()
    rows = measure_compiling(options.quick) + measure_transitions(options.quick)
    print(f"{'':32} {'value':>12} {'unit':16} {'yardstick':>12} {'ratio':>8}")
    for row in rows:
        print(f"{row.name:32} {row.value:12,.2f} {row.unit:16} {row.yardstick:12,.2f} {row.ratio:8.1f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump([asdict(row) for row in rows], file, indent=2)


if __name__ == "__main__":
    main()
