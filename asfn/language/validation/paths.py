"""Checks of JSONPath fields: paths, reference paths, payload templates, intrinsic functions.

The compilers of `language/paths.py` and `intrinsics.py` are the judges; here stand AWS's sentences and
locations. Sentences: the template's is [A] (recorded), `Value must be a valid JSONPath.` and `Value is not a
Reference Path` [R].
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asfn.language.intrinsics import Intrinsic, IntrinsicSyntaxError, compile_intrinsic
from asfn.language.paths import PathSyntaxError, compile_path, compile_reference_path
from asfn.language.templates import MAX_NESTING

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.language.document import Tokens
    from asfn.language.paths import Path
    from asfn.language.validation.findings import Findings
    from asfn.language.validation.scope import StateScope

TEXT_FUNCTIONS: Final = frozenset(
    f"States.{name}"
    for name in ("Format", "JsonToString", "ArrayGetItem", "Base64Encode", "Base64Decode", "Hash", "UUID")
)
"""The functions that ErrorPath and CausePath take (asl.md 4.1)."""

FUNCTIONS: Final = (
    "States.Format",
    "States.StringToJson",
    "States.JsonToString",
    "States.Array",
    "States.ArrayPartition",
    "States.ArrayContains",
    "States.ArrayRange",
    "States.ArrayGetItem",
    "States.ArrayLength",
    "States.ArrayUnique",
    "States.Base64Encode",
    "States.Base64Decode",
    "States.Hash",
    "States.JsonMerge",
    "States.MathRandom",
    "States.MathAdd",
    "States.StringSplit",
    "States.UUID",
)

_LOOKS_LIKE_PATH: Final = re.compile(r"\$\$?(?:\.[\w'*]|\[)|States\.[A-Z]\w+\(")
_BAD_BRACKET: Final = re.compile(r"\[(?!['\"0-9-])")
_CALL: Final = re.compile(r"\s*([A-Za-z.]+)\(")


def check_path(state: StateScope, path: Tokens, value: Json, *, nullable: bool) -> None:
    """InputPath, OutputPath: a path, or null."""
    if value is None and nullable:
        return
    if not isinstance(value, str):
        state.findings.error(path, "Value must be a valid JSONPath.", suggestion="Write a path such as '$.name'.")
        return
    try:
        compiled = compile_path(value)
    except PathSyntaxError as error:
        state.findings.error(path, "Value must be a valid JSONPath.", suggestion=str(error))
        return
    note_reads(state, path, (compiled,))


def check_reference_path(
    state: StateScope,
    path: Tokens,
    value: Json,
    *,
    nullable: bool = False,
    context: bool = True,
    variable: bool = True,
) -> None:
    """A path to one node. context, variable: whether it may start with `$$` or with a variable."""
    if value is None and nullable:
        return
    if not isinstance(value, str):
        state.findings.error(path, "Value is not a Reference Path", suggestion="Write a path such as '$.name'.")
        return
    if not value.startswith("$"):
        state.findings.error(path, "Value is not a Reference Path: Reference path didn't start with '$'")
        return
    try:
        compiled = compile_reference_path(value, allow_context=context, allow_variable=variable)
    except PathSyntaxError as error:
        state.findings.error(path, _not_a_reference(value), suggestion=str(error))
        return
    note_reads(state, path, (compiled,))


def _not_a_reference(text: str) -> str:
    """AWS's sentence; what it names of a bad bracket is [R] (ts2asl 912, `[$$.x]`), for other brackets [U]."""
    reason = ": '[' must be followed by ' or '['" if _BAD_BRACKET.search(text) else ""
    return f"Value is not a Reference Path{reason}"


def check_operand_path(state: StateScope, path: Tokens, value: Json) -> None:
    """Variable and the ...Path operands of a choice rule: any path."""
    if isinstance(value, str) and value.startswith("$"):
        try:
            note_reads(state, path, (compile_path(value),))
        except PathSyntaxError as error:
            state.findings.error(path, _not_a_reference(value), suggestion=str(error))
        return
    state.findings.error(path, "Value is not a Reference Path: Reference path didn't start with '$'")


def check_text_source(state: StateScope, path: Tokens, value: Json) -> None:
    """ErrorPath, CausePath: a reference path, or a call of a function that gives text."""
    if not isinstance(value, str) or not value.startswith("States."):
        check_reference_path(state, path, value)
        return
    message = "Value must be a valid JSONPath or a valid intrinsic function call"
    try:
        call = compile_intrinsic(value)
    except IntrinsicSyntaxError as error:
        state.findings.error(path, message, suggestion=_function_hint(state.findings, value) or str(error))
        return
    if call.name not in TEXT_FUNCTIONS and f"States.{call.name}" not in TEXT_FUNCTIONS:
        listed = ", ".join(sorted(TEXT_FUNCTIONS))
        state.findings.error(path, message, suggestion=f"The function must give text: {listed}.")
        return
    _note_call(state, path, call)


def check_template(state: StateScope, path: Tokens, value: Json, depth: int = 0) -> None:
    """A payload template: keys that end in `.$` hold a path or a call, at every depth; others are literal."""
    if depth >= MAX_NESTING:
        state.findings.error(path, f"A template may nest at most {MAX_NESTING} levels", code="TOO_DEEPLY_NESTED")
        return
    if isinstance(value, dict):
        for key, member in value.items():
            if key.endswith(".$"):
                _check_dynamic(state, path, key, member)
                if key[:-2] in value:
                    message = f"The fields '{key[:-2]}' and '{key}' cannot be used together"  # [U] AWS's words
                    state.findings.error(path, message, field=key)
            elif isinstance(member, str):
                _hint_literal(state, (*path, key), key, member)
            elif isinstance(member, (dict, list)):
                check_template(state, (*path, key), member, depth + 1)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            if isinstance(member, (dict, list)):
                check_template(state, (*path, index), member, depth + 1)


def _check_dynamic(state: StateScope, path: Tokens, key: str, value: Json) -> None:
    reason: str | None = None
    if isinstance(value, str):
        try:
            if value.startswith("$"):
                note_reads(state, (*path, key), (compile_path(value),))
            else:
                _note_call(state, (*path, key), compile_intrinsic(value))
            return
        except (PathSyntaxError, IntrinsicSyntaxError) as error:
            reason = _function_hint(state.findings, value) or str(error)
    message = f"The value for the field '{key}' must be a valid JSONPath or a valid intrinsic function call"
    state.findings.error(path, message, field=key, suggestion=reason)


def _note_call(state: StateScope, path: Tokens, call: Intrinsic) -> None:
    """AWS takes a call with a wrong count of arguments, and fails when the state runs [A, measured elsewhere]."""
    note_reads(state, path, call.paths)
    for message in call.miscounts:
        state.findings.warning(path, message, code="WRONG_ARGUMENT_COUNT")


def _function_hint(findings: Findings, text: str) -> str | None:
    call = _CALL.match(text)
    return findings.hint(call.group(1), FUNCTIONS) if call and call.group(1) not in FUNCTIONS else None


def looks_like_path(text: str) -> bool:
    """Whether a literal looks as if somebody forgot the `.$` of its key."""
    return _LOOKS_LIKE_PATH.match(text) is not None


def _hint_literal(state: StateScope, path: Tokens, key: str, text: str) -> None:
    if text.startswith("{%") and text.endswith("%}"):
        message = f"The field '{key}' holds a JSONata expression, but the state's QueryLanguage is JSONPath"
        state.findings.warning(path, message, code="NO_JSONATA", suggestion="Set QueryLanguage to 'JSONata'.")
    elif looks_like_path(text):
        message = f"The value of the field '{key}' looks like a path, but its name does not end with '.$'"
        state.findings.warning(path, message, code="NO_DOLLAR", suggestion=f"Did you mean '{key}.$'?")


def note_reads(state: StateScope, path: Tokens, compiled: tuple[Path, ...]) -> None:
    """Remember the variables that are read, for the check at the end of their scope."""
    for item in compiled:
        if item.variable is not None:
            state.variables.reads.append((item.variable, path))
