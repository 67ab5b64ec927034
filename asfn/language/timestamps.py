"""RFC 3339 timestamps as AWS reads and prints them (asl.md 1.4). Pure; no clock.

Comparisons use whole nanoseconds since the epoch, so nine fraction digits stay exact; floats are for waiting.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_TIMESTAMP: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_NANOSECONDS: Final = 1_000_000_000
_LARGEST_OFFSET_MINUTES: Final = 18 * 60  # java.time refuses more [U]


def parse_nanoseconds(text: str) -> int | None:
    """Nanoseconds since the epoch of a timestamp, exact; None when the text is none.

    Upper case `T`; upper case `Z` or an offset `+hh:mm`; seconds are required; up to nine fraction digits.
    The calendar is checked: month 13, hour 24 and second 60 are refused. Year 0000 is refused [U].
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    if hour > "23" or minute > "59" or second > "59":
        return None
    offset = 0
    if zone != "Z":
        offset = int(zone[1:3]) * 60 + int(zone[4:6])
        if zone[4:6] > "59" or offset > _LARGEST_OFFSET_MINUTES:
            return None
        if zone[0] == "-":
            offset = -offset
    seconds = days * 86_400 + int(hour) * 3_600 + (int(minute) - offset) * 60 + int(second)
    return seconds * _NANOSECONDS + (int(fraction.ljust(9, "0")) if fraction else 0)


def parse_timestamp(text: str) -> float | None:
    """Epoch seconds of a timestamp; None when the text is none (see `parse_nanoseconds` for what counts)."""
    nanoseconds = parse_nanoseconds(text)
    return None if nanoseconds is None else nanoseconds / _NANOSECONDS


def is_timestamp(text: str) -> bool:
    """Whether AWS's IsTimestamp holds for this text."""
    return parse_nanoseconds(text) is not None


def format_timestamp(epoch_seconds: float) -> str:
    """The time as the context object prints it: UTC with `Z`, rounded to milliseconds.

    Three fraction digits, or none when they are zero: `2023-03-04T11:20:00.123Z`, `2023-03-04T11:20:00Z`.
    Raises ValueError outside the years 1 to 9999.
    """
    seconds, milliseconds = divmod(round(epoch_seconds * 1000), 1000)
    days, rest = divmod(seconds, 86_400)
    try:
        day = date.fromordinal(days + _EPOCH_DAY)
    except (ValueError, OverflowError):
        raise ValueError(f"{epoch_seconds} is no time between the years 1 and 9999") from None
    fraction = f".{milliseconds:03}" if milliseconds else ""
    clock = f"{rest // 3_600:02}:{rest % 3_600 // 60:02}:{rest % 60:02}"
    return f"{day.year:04}-{day.month:02}-{day.day:02}T{clock}{fraction}Z"
