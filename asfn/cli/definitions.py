"""Reading definition files for commands, and putting findings in words: `file:line:column: ERROR CODE message`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from asfn.cli.exits import Refused
from asfn.cli.output import coloured, plain
from asfn.language.reader import read_document

if TYPE_CHECKING:
    from asfn.language.diagnostics import Diagnostic
    from asfn.language.document import Document

STDIN: Final = "-"
LARGEST_FILE_BYTES: Final = 64 * 1024 * 1024
"""More than this is no definition (AWS takes 1 MiB); the bound is for devices and files given by mistake."""


def read_definition(path: str) -> Document:
    """The definition in a file, or on stdin for `-`.

    Raises Refused when it cannot be read at all, DefinitionError when what was read is neither JSON nor YAML.
    """
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(f"{plain(path)} cannot be read: {reason}") from error
    if len(data) > LARGEST_FILE_BYTES:
        raise Refused(f"{plain(path)} is larger than {LARGEST_FILE_BYTES // 1024**2} MiB: that is no definition")
    return read_document(data, name=None if path == STDIN else os.path.basename(path))


def finding_line(path: str, finding: Diagnostic) -> str:
    """One finding as compilers print theirs; the place in the definition stands behind the message.

    A finding about the whole file stands at its beginning.
    """
    place = f"{plain(path)}:{finding.line or 1}:{finding.column or 1}"
    # A syntax error repeats the text itself behind its message; line and column say it better.
    text = plain(finding.message.partition("\n at [Source:")[0])
    where = f" [{plain(finding.pointer)}]" if finding.pointer and finding.pointer.startswith("/") else ""
    hint = f" {plain(finding.suggestion)}" if finding.suggestion else ""
    return f"{place}: {coloured(finding.severity)} {finding.code}: {text}{where}{hint}"
