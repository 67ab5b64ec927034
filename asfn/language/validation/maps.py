"""Map states: processor configuration, items, and everything of distributed mode (asl.md 8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asfn.language.validation import jsonata, values
from asfn.language.validation.language import check_language
from asfn.language.validation.paths import check_reference_path, check_template

if TYPE_CHECKING:
    from asfn._json import Json, JsonObject
    from asfn.language.document import Tokens
    from asfn.language.validation.scope import StateScope

MAX_LABEL_CHARACTERS: Final = 40
MAX_ITEMS: Final = 100_000_000
MAX_BATCH_BYTES: Final = 262_144

PROCESSORS: Final = ("ItemProcessor", "Iterator")
_DISTRIBUTED_ONLY: Final = ("ItemReader", "ItemBatcher", "ResultWriter")
_BAD_LABEL: Final = re.compile(
    r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\U0010ffff]"
)  # the characters that names may not hold (api.md section 2)

_READER_FIELDS: Final = ("Resource", "ReaderConfig", "Parameters", "Arguments")
_READER_CONFIG_FIELDS: Final = (
    "InputType",
    "Transformation",
    "ManifestType",
    "CSVHeaderLocation",
    "CSVHeaders",
    "CSVDelimiter",
    "ItemsPointer",
    "MaxItems",
    "MaxItemsPath",
)
_BATCHER_FIELDS: Final = (
    "MaxItemsPerBatch",
    "MaxItemsPerBatchPath",
    "MaxInputBytesPerBatch",
    "MaxInputBytesPerBatchPath",
    "BatchInput",
)
_WRITER_FIELDS: Final = ("Resource", "Parameters", "Arguments", "WriterConfig")
_INPUT_TYPES: Final = ("CSV", "JSON", "JSONL", "PARQUET", "MANIFEST")
_DELIMITERS: Final = ("COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB")
_READER_RESOURCE: Final = re.compile(r"arn:aws[a-z-]*:states:::s3:(?:getObject|listObjectsV2)")
_WRITER_RESOURCE: Final = re.compile(r"arn:aws[a-z-]*:states:::s3:putObject")
_NO_SUCH_RESOURCE: Final = "The field 'Resource' does not match any of the allowed values"  # [R]


def processor_of(fields: JsonObject) -> tuple[str, JsonObject] | None:
    """The field and object of the item processor, under its new or its old name."""
    for name in PROCESSORS:
        value = fields.get(name)
        if isinstance(value, dict):
            return name, value
    return None


def is_distributed(fields: JsonObject) -> bool:
    """Whether a Map asks for distributed mode."""
    return _processor_config(fields).get("Mode") == "DISTRIBUTED"


def runs_express_children(fields: JsonObject) -> bool:
    """Whether the children of a Map are Express executions."""
    return is_distributed(fields) and _processor_config(fields).get("ExecutionType") == "EXPRESS"


def _processor_config(fields: JsonObject) -> JsonObject:
    found = processor_of(fields)
    config = found[1].get("ProcessorConfig") if found else None
    return config if isinstance(config, dict) else {}


def check_map(state: StateScope) -> None:
    """What the fields of a Map say together."""
    findings, fields, path = state.findings, state.fields, state.path
    values.exactly_one(findings, path, fields, PROCESSORS)
    values.at_most_one(findings, path, fields, ("ItemSelector", "Parameters"))
    for name in ("MaxConcurrency", "ToleratedFailurePercentage", "ToleratedFailureCount"):
        values.at_most_one(findings, path, fields, (name, f"{name}Path"))
    found = processor_of(fields)
    if found is None:
        return
    if not is_distributed(fields):
        for name in _DISTRIBUTED_ONLY:
            if name in fields:
                hint = "It needs ProcessorConfig with Mode 'DISTRIBUTED'."
                findings.error(path, f"Field '{name}' is not supported", field=name, suggestion=hint)
        if "Label" in fields:
            message = "Label has no effect on a Map in INLINE mode"  # [U] whether AWS refuses it
            findings.warning((*path, "Label"), message, code="FIELD_WITHOUT_EFFECT")
    elif state.definition.type == "EXPRESS":
        message = "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines"
        findings.error((*path, found[0], "ProcessorConfig", "Mode"), message)  # [R], location [U]


def check_processor_config(state: StateScope, path: Tokens, value: Json) -> None:
    findings = state.findings
    if not values.is_object(value, findings, path):
        return
    values.only_fields(findings, path, value, ("Mode", "ExecutionType"))
    mode = value.get("Mode")
    if "Mode" in value:
        values.is_one_of(mode, findings, (*path, "Mode"), ("INLINE", "DISTRIBUTED"))
    if mode == "DISTRIBUTED":
        values.required(findings, path, value, ("ExecutionType",))
    elif mode == "INLINE" and "ExecutionType" in value:
        values.unsupported(findings, path, "ExecutionType")
        return
    if "ExecutionType" in value:
        values.is_one_of(value["ExecutionType"], findings, (*path, "ExecutionType"), ("STANDARD", "EXPRESS"))


def check_items(state: StateScope, path: Tokens, value: Json) -> None:
    """Items of a JSONata Map: a list, an object, or an expression."""
    if isinstance(value, (list, dict)):
        jsonata.check_value(state, path, value)
    elif isinstance(value, str):
        jsonata.check_text(state, path, value)
    else:
        values.expected(state.findings, path, "ARRAY")


def check_count(state: StateScope, path: Tokens, value: Json, high: int | None = None) -> None:
    """A number from 0, or in JSONata an expression."""
    if state.jsonata and isinstance(value, str) and value.startswith("{%"):
        jsonata.check_text(state, path, value)
    else:
        values.is_integer(value, state.findings, path, 0, high)


def check_percentage(state: StateScope, path: Tokens, value: Json) -> None:
    if state.jsonata and isinstance(value, str) and value.startswith("{%"):
        jsonata.check_text(state, path, value)
    else:
        values.is_number(value, state.findings, path, 0.0, 100.0)


def check_count_path(state: StateScope, path: Tokens, value: Json) -> None:
    """The ...Path form of a Map's numbers: a reference path, not into the context object [A] (floci 3733)."""
    check_reference_path(state, path, value, context=False)


def check_label(state: StateScope, path: Tokens, value: Json) -> None:
    findings = state.findings
    if not values.is_text(value, findings, path):
        return
    if not value:
        findings.error(path, "Value cannot be empty")
    elif len(value) > MAX_LABEL_CHARACTERS:
        limit = f"exceeds the {MAX_LABEL_CHARACTERS}-character limit allowed by the service"
        message = f"Invalid Label name: Label '{value}' {limit}"
        findings.error(path, message, code="INVALID_LABEL_NAME")  # [R], its beginning as that of a state name [U]
    elif found := _BAD_LABEL.search(value):
        message = f"Invalid Label name: Label '{value}' contains the invalid character {found.group()!r}"
        findings.error(path, message, code="INVALID_LABEL_NAME")  # [U] AWS's words
    elif value in state.definition.labels:
        findings.error(path, f"Duplicate Label name: {value}", code="DUPLICATE_LABEL_NAME")
    else:
        state.definition.labels[value] = path


def check_reader(state: StateScope, path: Tokens, value: Json) -> None:
    """ItemReader (asl.md 8.4)."""
    findings = state.findings
    if not values.is_object(value, findings, path):
        return
    values.only_fields(findings, path, value, _READER_FIELDS)
    values.required(findings, path, value, ("Resource",))
    resource = value.get("Resource")
    if "Resource" in value and values.is_text(resource, findings, (*path, "Resource")):
        _check_call_resource(state, path, resource, _READER_RESOURCE)
    _check_call(state, path, value)
    if "ReaderConfig" in value:
        _check_reader_config(state, (*path, "ReaderConfig"), value["ReaderConfig"])


def _check_call_resource(state: StateScope, path: Tokens, text: str, allowed: re.Pattern[str]) -> None:
    if not allowed.fullmatch(text):
        state.findings.error((*path, "Resource"), _NO_SUCH_RESOURCE)


def _check_call(state: StateScope, path: Tokens, value: JsonObject) -> None:
    """Parameters or Arguments of a reader or writer."""
    check_language(state, path, value, jsonpath=("Parameters",), jsonata=("Arguments",))
    name = "Arguments" if state.jsonata else "Parameters"
    if name not in value:
        return
    call = value[name]
    place = (*path, name)
    if state.jsonata and isinstance(call, str):
        jsonata.check_text(state, place, call)
    elif values.is_object(call, state.findings, place):
        if state.jsonata:
            jsonata.check_value(state, place, call)
        else:
            check_template(state, place, call)


def _check_reader_config(state: StateScope, path: Tokens, value: Json) -> None:
    findings = state.findings
    if not values.is_object(value, findings, path):
        return
    values.only_fields(findings, path, value, _READER_CONFIG_FIELDS)
    check_language(state, path, value, jsonpath=("MaxItemsPath",))
    values.at_most_one(findings, path, value, ("MaxItems", "MaxItemsPath"))
    choices = {
        "InputType": _INPUT_TYPES,
        "Transformation": ("NONE", "LOAD_AND_FLATTEN"),
        "ManifestType": ("ATHENA_DATA", "S3_INVENTORY"),
        "CSVHeaderLocation": ("FIRST_ROW", "GIVEN"),
        "CSVDelimiter": _DELIMITERS,
    }
    for name, allowed in choices.items():
        if name in value:
            values.is_one_of(value[name], findings, (*path, name), allowed)
    if "MaxItems" in value:
        check_count(state, (*path, "MaxItems"), value["MaxItems"], MAX_ITEMS)
    if "MaxItemsPath" in value and not state.jsonata:
        check_count_path(state, (*path, "MaxItemsPath"), value["MaxItemsPath"])
    if "ItemsPointer" in value:
        values.is_text(value["ItemsPointer"], findings, (*path, "ItemsPointer"))
    _check_csv(state, path, value)


def _check_csv(state: StateScope, path: Tokens, value: JsonObject) -> None:
    """The CSV fields need each other, and InputType CSV [R]."""
    findings = state.findings
    location = value.get("CSVHeaderLocation")
    if value.get("InputType") == "CSV":
        if "CSVHeaderLocation" not in value:
            findings.error(path, "The field 'CSVHeaderLocation' is required")
    elif value.get("InputType") in _INPUT_TYPES and "CSVHeaderLocation" in value and "ManifestType" not in value:
        values.unsupported(findings, path, "CSVHeaderLocation")
    if location == "GIVEN":
        values.required(findings, path, value, ("CSVHeaders",))
    if "CSVHeaders" in value and values.is_full_list(value["CSVHeaders"], findings, (*path, "CSVHeaders")):
        for index, header in enumerate(value["CSVHeaders"]):
            values.is_text(header, findings, (*path, "CSVHeaders", index))


def check_batcher(state: StateScope, path: Tokens, value: Json) -> None:
    """ItemBatcher (asl.md 8.5)."""
    findings = state.findings
    if not values.is_object(value, findings, path):
        return
    values.only_fields(findings, path, value, _BATCHER_FIELDS)
    check_language(state, path, value, jsonpath=("MaxItemsPerBatchPath", "MaxInputBytesPerBatchPath"))
    limits = [name for name in _BATCHER_FIELDS[:4] if name in value]
    if not limits:
        listed = ", ".join(_BATCHER_FIELDS[:4])
        findings.error(path, f"This object should have at least one of the following fields: [{listed}]")  # [U]
    for name, high in (("MaxItemsPerBatch", None), ("MaxInputBytesPerBatch", MAX_BATCH_BYTES)):
        values.at_most_one(findings, path, value, (name, f"{name}Path"))
        if name in value:
            check_count(state, (*path, name), value[name], high)
        if f"{name}Path" in value and not state.jsonata:
            check_count_path(state, (*path, f"{name}Path"), value[f"{name}Path"])
    if "BatchInput" in value:
        check_payload(state, (*path, "BatchInput"), value["BatchInput"])


def check_payload(state: StateScope, path: Tokens, value: Json) -> None:
    """ItemSelector, BatchInput: a template, or a value with expressions."""
    if state.jsonata:
        jsonata.check_value(state, path, value)
    else:
        check_template(state, path, value)


def check_writer(state: StateScope, path: Tokens, value: Json) -> None:
    """ResultWriter (asl.md 8.7)."""
    findings = state.findings
    if not values.is_object(value, findings, path):
        return
    if not value:
        findings.error(path, "Value cannot be empty")  # [D] an empty object is refused; [U] AWS's words
        return
    values.only_fields(findings, path, value, _WRITER_FIELDS)
    call = "Arguments" if state.jsonata else "Parameters"
    if "WriterConfig" not in value or "Resource" in value or call in value:
        values.required(findings, path, value, ("Resource",))
    resource = value.get("Resource")
    if "Resource" in value and values.is_text(resource, findings, (*path, "Resource")):
        _check_call_resource(state, path, resource, _WRITER_RESOURCE)
        if call not in value and not _call_of_other_language(state, value):
            values.required(findings, path, value, (call,))
    _check_call(state, path, value)
    if "WriterConfig" in value:
        place = (*path, "WriterConfig")
        config = value["WriterConfig"]
        if values.is_object(config, findings, place):
            values.only_fields(findings, place, config, ("OutputType", "Transformation"))
            if "OutputType" in config:
                values.is_one_of(config["OutputType"], findings, (*place, "OutputType"), ("JSON", "JSONL"))
            if "Transformation" in config:
                choices = ("NONE", "COMPACT", "FLATTEN")
                values.is_one_of(config["Transformation"], findings, (*place, "Transformation"), choices)


def _call_of_other_language(state: StateScope, value: JsonObject) -> bool:
    """Whether the call stands under the other language's name, which is reported by itself."""
    return ("Parameters" if state.jsonata else "Arguments") in value
