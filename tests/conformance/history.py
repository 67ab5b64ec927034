"""Comparing an engine's history with a recorded one.

Ordered: every event, its id and its link. Where branches run at once the ids depend on timing: then each event is
matched with one of the same type and details whose predecessor is the same too. Recordings that lost the ids of
branch events are compared as a multiset of events.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.conformance.compare import Difference, Matcher, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conformance.normalise import Placeholders

Event = dict[str, Any]  # Any: an event of GetExecutionHistory
How = Literal["ordered", "prefix", "branches", "multiset"]

_WHERE: Final = frozenset({"id", "previousEventId", "timestamp"})
# Which branch or iteration ends last, or frees a slot, is a matter of timing; so is what these events link to.
_LINK_BY_TIMING: Final = frozenset(
    {
        "MapIterationStarted",
        "MapStateSucceeded",
        "MapStateExited",
        "ParallelStateSucceeded",
        "ParallelStateExited",
    }
)


def history_difference(
    expected: Sequence[Event], actual: Sequence[Event], matcher: Matcher, how: How, lost: Sequence[str] = ()
) -> Difference | None:
    """The first difference of two histories, both in recorded form and the expected one bound.

    prefix: the recording stops early.   lost: types of which the recording lacks one event each.
    """
    expected = [_with_texts(event) for event in _with_newer_links(expected)]
    broken = _broken_chain(actual)
    if broken is not None:
        return broken
    if how in ("ordered", "prefix"):
        return _ordered(expected, actual, matcher, whole=how == "ordered")
    if how == "branches" and _ordered(expected, actual, Matcher(matcher.placeholders), whole=True) is None:
        return None
    return _matched(expected, _without(actual, lost), matcher.placeholders, links=how == "branches")


def _with_newer_links(events: Sequence[Event]) -> list[Event]:
    """Until autumn 2024 the MapStateExited of a map run linked to MapRunSucceeded; now it links to MapRunStarted."""
    by_id = {event["id"]: event for event in events if isinstance(event["id"], int)}
    newer: list[Event] = []
    for event in events:
        previous = by_id.get(event["previousEventId"])
        if event["type"] == "MapStateExited" and previous is not None and previous["type"] == "MapRunSucceeded":
            event = {**event, "previousEventId": previous["previousEventId"]}
        newer.append(event)
    return newer


def _with_texts(event: Event) -> Event:
    """Data in events is text; where a recording holds another value, the recorder's test had decoded it."""
    for member, details in event.items():
        if isinstance(details, dict):
            data = {
                key: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                for key, value in details.items()
                if key in ("input", "output") and not isinstance(value, str | dict)
            }
            if data:
                return {**event, member: {**details, **data}}
    return event


def _broken_chain(events: Sequence[Event]) -> Difference | None:
    """Ids count from 1 without gaps, and every event links to an earlier one or to 0."""
    for index, event in enumerate(events):
        if event["id"] != index + 1:
            return Difference(f"history[{index}].id", str(index + 1), shown(event["id"]))
        if not 0 <= event["previousEventId"] <= index:
            return Difference(f"history[{index}].previousEventId", "an earlier event", shown(event["previousEventId"]))
    return None


def _ordered(expected: Sequence[Event], actual: Sequence[Event], matcher: Matcher, *, whole: bool) -> Difference | None:
    for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
        place = f"history[{index}]"
        if one["type"] != other["type"]:
            return Difference(place, _label(one), _label(other))
        found = matcher.difference(_timeless(one), _timeless(other), f"{place} {one['type']}")
        if found is not None:
            return found
    if len(actual) < len(expected):
        return Difference(f"history[{len(actual)}]", _label(expected[len(actual)]), "the end")
    if whole and len(actual) > len(expected):
        return Difference(f"history[{len(expected)}]", "the end", _label(actual[len(expected)]))
    return None


def _matched(
    expected: Sequence[Event], actual: Sequence[Event], placeholders: Placeholders, *, links: bool
) -> Difference | None:
    one_by_id = {event["id"]: event for event in expected if isinstance(event["id"], int)}
    other_by_id = {event["id"]: event for event in actual}

    def compare(one: Event, other: Event) -> Difference | None:
        matcher = Matcher(placeholders)
        found = matcher.difference(_details(one), _details(other), f"history {one['type']}")
        if found is not None or not links:
            return found
        return _link_difference(one, one_by_id, other, other_by_id, matcher)

    for type_ in dict.fromkeys(event["type"] for event in (*expected, *actual)):
        left = [event for event in expected if event["type"] == type_]
        right = [event for event in actual if event["type"] == type_]
        if len(left) != len(right):
            return Difference(f"history {type_}", f"{len(left)} events", f"{len(right)} events")
        pairing = _Pairing([[compare(one, other) for other in right] for one in left])
        lonely = next((index for index in range(len(left)) if not pairing.place(index, set())), None)
        if lonely is not None:
            return pairing.nearest(lonely)
    return None


@dataclass
class _Pairing:
    """Finds a partner for each recorded event by augmenting paths. differences[i][j] is None where i fits j."""

    differences: list[list[Difference | None]]

    def __post_init__(self) -> None:
        self.partner: dict[int, int] = {}

    def place(self, index: int, tried: set[int]) -> bool:
        for other, difference in enumerate(self.differences[index]):
            if difference is None and other not in tried:
                tried.add(other)
                if other not in self.partner or self.place(self.partner[other], tried):
                    self.partner[other] = index
                    return True
        return False

    def nearest(self, index: int) -> Difference:
        """How the event differs from one that has no partner, or that there is only one where two are needed."""
        row = self.differences[index]
        free = [found for other, found in enumerate(row) if found is not None and other not in self.partner]
        return max(free, key=lambda found: len(found.path)) if free else Difference("history", "one more", "none")


def _link_difference(
    one: Event, one_by_id: dict[int, Event], other: Event, other_by_id: dict[int, Event], matcher: Matcher
) -> Difference | None:
    """Compare what two events link to: the same kind of event with the same details, as far as timing allows."""
    before, also = one_by_id.get(one["previousEventId"]), other_by_id.get(other["previousEventId"])
    path = f"history {one['type']}.previousEventId"
    if before is None or also is None:
        return None if before is also else Difference(path, _label(before), _label(also))
    by_timing = one["type"] in _LINK_BY_TIMING
    both_leave = before["type"].endswith("StateExited") and also["type"].endswith("StateExited")
    if before["type"] != also["type"] and not (by_timing and both_leave):
        return Difference(path, _label(before), _label(also))
    if by_timing:
        return None
    return matcher.difference(_details(before), _details(also), path)


def _without(events: Sequence[Event], lost: Sequence[str]) -> list[Event]:
    left = list(events)
    for type_ in lost:
        event = next((event for event in left if event["type"] == type_), None)
        if event is not None:
            left.remove(event)
    return left


def _details(event: Event) -> Event:
    return {key: value for key, value in event.items() if key not in _WHERE}


def _timeless(event: Event) -> Event:
    return {key: value for key, value in event.items() if key != "timestamp"}


def _label(event: Event | None) -> str:
    """`TaskFailed 8<7`: type, id and link."""
    return f"{event['type']} {event['id']}<{event['previousEventId']}" if event is not None else "nothing (0)"
