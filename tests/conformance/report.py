"""Counting verdicts: per topic and per kind, for people and as JSON."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.conformance.run import Verdict


def counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """`{"passed": n, "failed": n, "skipped": n}`."""
    found = Counter(verdict.status for verdict in verdicts)
    return {status: found[status] for status in ("passed", "failed", "skipped")}


def by(verdicts: Iterable[Verdict], name: Callable[[Verdict], str]) -> dict[str, dict[str, int]]:
    """The counts under each name, by name."""
    groups: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[name(verdict)].append(verdict)
    return {group: counts(groups[group]) for group in sorted(groups)}


def as_json(judged: Sequence[Verdict], unconfirmed: Sequence[Verdict]) -> dict[str, Any]:
    """The report as JSON. Cases that are not confirmed on AWS are only in `unconfirmed`."""
    return {
        **counts(judged),
        "topics": by(judged, lambda verdict: verdict.case.topic),
        "kinds": by(judged, lambda verdict: verdict.case.kind),
        "failures": _listed(judged, "failed"),
        "skips": _listed(judged, "skipped"),
        "unconfirmed": [
            {"id": verdict.case.id, "status": verdict.status, "why": verdict.why} for verdict in unconfirmed
        ],
    }


def _listed(verdicts: Sequence[Verdict], status: str) -> list[dict[str, str]]:
    return [{"id": verdict.case.id, "why": verdict.why} for verdict in verdicts if verdict.status == status]


def as_text(judged: Sequence[Verdict], unconfirmed: Sequence[Verdict]) -> str:
    """The report for people."""
    lines = [f"FAILED {verdict.case.id}\n       {verdict.why}" for verdict in judged if verdict.status == "failed"]
    reasons = Counter(verdict.why for verdict in judged if verdict.status == "skipped")
    if reasons:
        lines += ["", "skipped, by reason:"]
        lines += [f"{count:6}  {reason}" for reason, count in reasons.most_common()]
    if unconfirmed:
        lines += ["", "recordings not confirmed on AWS, counted apart:"]
        lines += [f"  {verdict.status:8} {verdict.case.id} {verdict.why}".rstrip() for verdict in unconfirmed]
    lines += _table("topic", by(judged, lambda verdict: verdict.case.topic))
    lines += _table("kind", by(judged, lambda verdict: verdict.case.kind))
    lines += _table("", {"all": counts(judged)})
    return "\n".join(lines)


def _table(title: str, rows: dict[str, dict[str, int]]) -> list[str]:
    lines = ["", f"{title:28}{'passed':>8}{'failed':>8}{'skipped':>9}"]
    lines += [f"{name:28}{row['passed']:8}{row['failed']:8}{row['skipped']:9}" for name, row in rows.items()]
    return lines
