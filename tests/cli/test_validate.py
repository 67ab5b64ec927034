"""`asfn validate`: formats and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.program import asfn

GOOD = '{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}'
BAD = """{
  "StartAt": "Nowhere",
  "States": {
    "A": {"Type": "Pass", "Next": "B"},
    "C": {"Type": "Wait", "Seconds": -1, "End": true}
  }
}"""


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.json").write_text(text)


def test_a_definition_without_errors_exits_with_0_and_prints_nothing_on_stdout(tmp_path: Path) -> None:
    write(tmp_path, good=GOOD)
    done = asfn("validate", "good.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "1 file: 0 errors, 0 warnings\n"


def test_every_finding_stands_at_file_line_and_column(tmp_path: Path) -> None:
    write(tmp_path, good=GOOD, bad=BAD)
    done = asfn("validate", "good.json", "bad.json", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    places = {line.split(": ")[0] for line in lines}
    assert {"bad.json:2:14", "bad.json:4:35", "bad.json:5:38"} <= places
    assert all(line.startswith("bad.json:") for line in lines)
    assert any("/States/A" in line for line in lines)
    assert "2 files: " in done.stderr


def test_json_lists_every_file_with_its_findings(tmp_path: Path) -> None:
    write(tmp_path, good=GOOD, bad=BAD)
    done = asfn("validate", "good.json", "bad.json", "--format", "json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    good, bad = json.loads(done.stdout)
    assert good == {"file": "good.json", "diagnostics": []}
    assert bad["file"] == "bad.json"
    for finding in bad["diagnostics"]:
        assert {"severity", "code", "pointer", "line", "column", "message"} <= set(finding)
    assert any(finding["line"] == 4 and finding["column"] == 35 for finding in bad["diagnostics"])


def test_sarif_names_rules_levels_and_regions(tmp_path: Path) -> None:
    write(tmp_path, bad=BAD)
    done = asfn("validate", "bad.json", "--format", "sarif", cwd=tmp_path)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    [run] = document["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert document["version"] == "2.1.0"
    assert rules == {result["ruleId"] for result in run["results"]}
    assert {result["level"] for result in run["results"]} <= {"error", "warning"}
    regions = [result["locations"][0]["physicalLocation"]["region"] for result in run["results"]]
    assert {"startLine": 2, "startColumn": 14} in regions


def test_github_annotations_escape_what_would_end_them(tmp_path: Path) -> None:
    (tmp_path / "a,b:c.json").write_text('{"StartAt": "100%\\n", "States": {"A": {"Type": "Succeed"}}}')
    done = asfn("validate", "a,b:c.json", "--format", "github", cwd=tmp_path)
    assert done.returncode == 1
    first, *_ = done.stdout.splitlines()
    assert first.startswith("::error file=a%2Cb%3Ac.json,line=1,col=")
    assert "100%25%0A" in first


def test_warnings_alone_are_no_error(tmp_path: Path) -> None:
    write(tmp_path, twice='{"Comment": "a", "Comment": "b", "StartAt": "A", "States": {"A": {"Type": "Succeed"}}}')
    done = asfn("validate", "twice.json", cwd=tmp_path)
    assert done.returncode == 0
    assert "twice.json:1:" in done.stdout
    assert "WARNING" in done.stdout
    assert "0 errors, 1 warning\n" in done.stderr


def test_yaml_and_stdin_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "flow.asl.yaml").write_text("StartAt: A\nStates:\n  A:\n    Type: Pass\n    Next: B\n")
    done = asfn("validate", "flow.asl.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "flow.asl.yaml:5:" in done.stdout
    done = asfn("validate", "-", cwd=tmp_path, stdin=GOOD)
    assert done.returncode == 0


def test_express_definitions_are_checked_by_their_own_rules(tmp_path: Path) -> None:
    sync = "arn:aws:states:::ecs:runTask.sync"
    text = {
        "StartAt": "A",
        "States": {"A": {"Type": "Task", "Resource": sync, "Parameters": {"TaskDefinition": "t"}, "End": True}},
    }
    write(tmp_path, job=json.dumps(text))
    assert asfn("validate", "job.json", cwd=tmp_path).returncode == 0
    assert asfn("validate", "job.json", "--type", "express", cwd=tmp_path).returncode == 1


def test_files_behind_an_unreadable_one_are_checked_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, bad=BAD)
    done = asfn("validate", "missing.json", "bad.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "bad.json:2:14" in done.stdout
    assert "missing.json cannot be read: No such file" in done.stderr
