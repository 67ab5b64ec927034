"""`python -m tests.conformance [DIR ...] [--topic T] [--kind K] [--id I] [--seed N] [--json OUT]`: run cases, report.

Exit status 1 when a case that is judged fails, 2 when there is nothing to run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.conformance.cases import DEFAULT_DIRECTORY, load
from tests.conformance.report import as_json, as_text
from tests.conformance.run import judge


def main(arguments: list[str] | None = None) -> int:
    """Run the cases that the arguments choose; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run recorded cases.")
    parser.add_argument("directories", metavar="DIR", nargs="*", type=Path, help="directories of cases")
    parser.add_argument("--topic", action="append", default=[], help="only cases of this topic (repeatable)")
    parser.add_argument("--kind", action="append", default=[], help="only cases of this kind (repeatable)")
    parser.add_argument("--id", action="append", default=[], help="only cases whose id contains this text")
    parser.add_argument("--seed", type=int, help="shuffle the order in which ready tasks run")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write the report to this file as JSON")
    options = parser.parse_args(arguments)
    try:
        cases = load(options.directories or [DEFAULT_DIRECTORY])
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    verdicts = [
        judge(case, options.seed)
        for case in cases
        if (not options.topic or case.topic in options.topic)
        and (not options.kind or case.kind in options.kind)
        and (not options.id or any(part in case.id for part in options.id))
    ]
    if not verdicts:
        print("no case fits", file=sys.stderr)
        return 2
    judged = [verdict for verdict in verdicts if verdict.case.confirmed]
    unconfirmed = [verdict for verdict in verdicts if not verdict.case.confirmed]
    print(as_text(judged, unconfirmed))
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(judged, unconfirmed), indent=1) + "\n", encoding="utf-8")
    return 1 if any(verdict.status == "failed" for verdict in judged) else 0


if __name__ == "__main__":
    sys.exit(main())
