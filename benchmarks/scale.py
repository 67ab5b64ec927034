"""Very many executions: `python -m benchmarks.scale latency|growth|callbacks|parked|rows|all [--quick] [--json OUT]`.

latency    start to finish of a one-task execution, p50 and p99, with 1, 100 and 1,000 at once; memory and SQLite.
growth     the cost of an execution as one file grows to a million finished ones.
callbacks  10,000 open callbacks answered in random order; live, and parked.
parked     100,000 executions in a Wait at once: memory of each, time to park, how late they wake; also kept live.
rows       a file with 1,000,000 parked executions: start, list, wake, claim and restart beside a file with few.

Files are made in the temporary directory (TMPDIR): `growth` and `rows` take some gigabytes there, and some minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from benchmarks import growth, latency, waiting
from benchmarks.measured import Figure, show

MEASURES: Final[dict[str, Callable[[bool], list[Figure]]]] = {
    "latency": latency.measure,
    "callbacks": waiting.measure_callbacks,
    "parked": waiting.measure_parked,
    "growth": growth.measure_growth,
    "rows": growth.measure_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measure", choices=[*MEASURES, "all"])
    parser.add_argument("--quick", action="store_true", help="few of everything, to see that it runs")
    parser.add_argument("--json", metavar="OUT", help="write the figures to this file")
    options = parser.parse_args()
    figures: list[Figure] = []
    for name, measure in MEASURES.items():
        if options.measure in (name, "all"):
            found = measure(options.quick)
            show(found)
            figures += found
    if options.json:
        with open(options.json, "w") as file:
            json.dump([{**asdict(figure), "ratio": figure.ratio} for figure in figures], file, indent=2)


if __name__ == "__main__":
    main()
