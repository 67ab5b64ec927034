"""The `--input` option: JSON text, `@file`, or `-` for stdin."""

from __future__ import annotations

import sys
from typing import Final

from asfn._json import JsonError, Payload
from asfn.cli.exits import Refused
from asfn.cli.output import plain

LARGEST_INPUT_BYTES: Final = 16 * 1024 * 1024
"""What is read at most; the limit of an execution's input, 256 KiB, is the engine's to apply."""


def read_input(given: str, what: str = "input") -> str:
    """The JSON text that `--input`, or another option for `what`, names.

    Raises Refused when it cannot be read or is not JSON.
    """
    where, text = _text(given, what)
    try:
        Payload.parse(text)
    except JsonError as error:
        raise Refused(f"the {what}{where} is {_reason(error)}") from error
    return text


def read_text(given: str, what: str) -> str:
    """The text that an option for `what` names in the same three ways, JSON or not. Raises Refused."""
    return _text(given, what)[1]


def _text(given: str, what: str) -> tuple[str, str]:
    if given == "-":
        where, source = " on stdin", "/dev/stdin"
    elif given.startswith("@"):
        where, source = f" in {plain(given[1:])}", given[1:]
    else:
        return "", given
    try:
        if given == "-":
            data = sys.stdin.buffer.read(LARGEST_INPUT_BYTES + 1)
        else:
            with open(source, "rb") as file:
                data = file.read(LARGEST_INPUT_BYTES + 1)
        if len(data) > LARGEST_INPUT_BYTES:
            raise Refused(f"the {what}{where} is larger than {LARGEST_INPUT_BYTES // 1024**2} MiB")
        return where, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"the {what}{where} is not UTF-8 text: byte {error.start} is not valid") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(f"the {what}{where} cannot be read: {reason}") from error


def _reason(error: JsonError) -> str:
    return str(error) if str(error).startswith("not ") else f"not JSON: {error}"
