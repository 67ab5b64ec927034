"""How well the validator judges real definitions: `python -m tests.corpus [DIR …] [--json OUT]`.

Reads the corpus beside the project (`../shared/corpus`), or the folders given, and prints how many valid definitions
are refused and how many invalid ones, in a table with other validators on the same files and on the whole corpus.
Exits with 1 when a valid definition is refused, or fewer than 98 % of the invalid ones are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asfn.language.validate import validate

SHARED = Path(__file__).resolve().parents[2] / "shared"
CORPUS = SHARED / "corpus"
WANTED_SHARE = 0.98

# On the whole corpus: 1280 valid (refused), 159 invalid (refused), 20 invalid with a text recorded from AWS (refused).
PEERS_ON_WHOLE_CORPUS = {
    "asl-validator": (41, 119, 9),
    "amazon-states-language-service": (4, 104, 10),
    "statelint": (271, 140, 12),
    "cfn-lint E3601": (29, 64, 4),
    "cfn-lint (DefinitionString)": (29, 65, 5),
    "moto parser": (58, 96, 15),
}
WHOLE_CORPUS = (1280, 159, 20)

# Called valid by the corpus, refused by AWS itself. They count against asfn in the table, and not in the exit status.
WRONGLY_VALID = {
    "accelerated-intelligent--statemachine-workflow-8eeb0c26": (
        "`{% ${Name} %}` lost its placeholder: AWS refuses a bare name at the top level of an expression"
    ),
}


@dataclass
class Score:
    """What one validator did. refused_valid, missed: ids; missed are invalid ones that it accepts."""

    valid: int = 0
    invalid: int = 0
    refused_valid: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def count(self, verdict: str, identity: str, refused: bool) -> None:
        if verdict == "valid":
            self.valid += 1
            if refused:
                self.refused_valid.append(identity)
        else:
            self.invalid += 1
            if not refused:
                self.missed.append(identity)

    @property
    def caught(self) -> int:
        return self.invalid - len(self.missed)


@dataclass
class Report:
    """The scores of asfn and of the peers on the same files; what asfn warns of; how long it took."""

    asfn: Score = field(default_factory=Score)
    peers: dict[str, Score] = field(default_factory=dict)
    doubtful_refused: list[str] = field(default_factory=list)
    doubtful: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    crashes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def judge(folders: list[Path]) -> Report:
    """Run the validator over every corpus file of the folders."""
    report = Report()
    for path in sorted(file for folder in folders for file in folder.glob("*.json")):
        entry = json.loads(path.read_text())
        if "verdict" in entry:
            _judge_entry(report, entry)
    return report


def _judge_entry(report: Report, entry: dict[str, Any]) -> None:
    started = time.perf_counter()
    try:
        diagnostics = validate(entry["definition"], type=entry.get("machine_type", "STANDARD"))
        errors = [item for item in diagnostics if item.severity == "ERROR"]
        for item in diagnostics:
            if item.severity == "WARNING":
                report.warnings[item.code] = report.warnings.get(item.code, 0) + 1
        refused = bool(errors)
    except Exception as error:  # the report must name the definition that breaks the validator
        report.crashes[entry["id"]] = repr(error)
        refused = True
    report.seconds += time.perf_counter() - started
    if entry["verdict"] == "doubtful":
        report.doubtful += 1
        if refused:
            report.doubtful_refused.append(entry["id"])
        return
    report.asfn.count(entry["verdict"], entry["id"], refused)
    for peer, answer in entry.get("peers", {}).items():
        report.peers.setdefault(peer, Score()).count(entry["verdict"], entry["id"], answer != "accept")


def print_report(report: Report) -> None:
    """The table, and the ids that need a look."""
    print(f"{'':34}{'valid refused':>22}{'invalid refused':>22}{'whole corpus':>26}")
    for name, score in (("asfn", report.asfn), *report.peers.items()):
        whole = PEERS_ON_WHOLE_CORPUS.get(name)
        beside = f"{whole[0]}/{WHOLE_CORPUS[0]}, {whole[1]}/{WHOLE_CORPUS[1]}" if whole else ""
        print(
            f"{name:34}{_share(len(score.refused_valid), score.valid):>22}"
            f"{_share(score.caught, score.invalid):>22}{beside:>26}"
        )
    print(f"\ndoubtful, not scored: {len(report.doubtful_refused)} of {report.doubtful} refused")
    print("warnings: " + ", ".join(f"{code} {count}" for code, count in sorted(report.warnings.items())))
    total = report.asfn.valid + report.asfn.invalid + report.doubtful
    print(f"{total} definitions in {report.seconds:.2f} s")
    for title, ids in (
        ("valid but refused", [_with_reason(identity) for identity in report.asfn.refused_valid]),
        ("invalid but accepted", report.asfn.missed),
        ("crashed", [f"{identity}: {error}" for identity, error in report.crashes.items()]),
    ):
        if ids:
            print(f"\n{title}:")
            print("\n".join(f"  {identity}" for identity in ids))


def _with_reason(identity: str) -> str:
    reason = WRONGLY_VALID.get(identity)
    return f"{identity} ({reason})" if reason else identity


def unexplained(report: Report) -> list[str]:
    """Valid definitions that are refused and not listed in WRONGLY_VALID."""
    return [identity for identity in report.asfn.refused_valid if identity not in WRONGLY_VALID]


def _share(count: int, total: int) -> str:
    return f"{count}/{total} ({100 * count / total:.1f} %)" if total else "-"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, default=[CORPUS], metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the scores as JSON")
    options = parser.parse_args(arguments)
    report = judge(options.folders)
    if not report.asfn.valid + report.asfn.invalid:
        print(f"no corpus files in {', '.join(str(folder) for folder in options.folders)}", file=sys.stderr)
        return 2
    print_report(report)
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    good = not unexplained(report) and report.asfn.caught >= WANTED_SHARE * report.asfn.invalid
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
