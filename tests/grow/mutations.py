"""Texts, bytes and values that were definitions once: what the reader and the validator have to survive.

`mutated` changes a definition as a tree (wrong types, huge numbers, moved and renamed members, broken expressions),
as a text (tokens, repeated names, YAML) or as bytes (flips, truncations, splices, invalid UTF-8). One `Random` is one
input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

import msgspec
import yaml

from asfn._json import Json, JsonObject
from asfn.language.document import Format

_MOST_CHARACTERS: Final = 60_000
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[\[\]{}:,]|\w+|\s+|.', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Input:
    """What is handed to `read_document`, and as which type of machine it is checked."""

    source: str | bytes | dict[str, Json]
    format: Format | None = None
    type: Literal["STANDARD", "EXPRESS"] = "STANDARD"


def mutated(rng: Random, bases: Sequence[JsonObject]) -> Input:
    """One input. bases: definitions to begin with; at least one."""
    try:
        return _mutated(rng, bases)
    except RecursionError:  # wrapped too often to be printed here
        return Input(_deep(rng))


def _mutated(rng: Random, bases: Sequence[JsonObject]) -> Input:
    base = rng.choice(bases)
    tree: Any = json.loads(json.dumps(base))
    kind = rng.choices(("tree", "text", "bytes", "yaml", "value", "extreme"), (45, 17, 17, 12, 7, 2))[0]
    type_: Literal["STANDARD", "EXPRESS"] = "EXPRESS" if rng.random() < 0.1 else "STANDARD"
    if kind == "extreme":
        return Input(rng.choice(_EXTREMES)(rng), rng.choice((None, None, "json", "yaml")), type_)
    if kind in ("tree", "value") or rng.random() < 0.3:
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
            tree = _edit_tree(rng, tree, bases)
    if kind == "value":
        return Input(tree if isinstance(tree, dict) else {"States": tree}, None, type_)
    if kind == "yaml":
        return Input(_yaml(rng, tree), rng.choice((None, "yaml", "yaml")), type_)
    text = _printed(rng, tree)[:_MOST_CHARACTERS]
    if kind == "text":
        for _ in range(rng.choice((1, 1, 2, 3))):
            text = _edit_text(rng, text)
    if kind != "bytes":
        return Input(text, rng.choice((None, None, None, "json", "yaml")), type_)
    data = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-16-le", "latin-1")), "replace")
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        data = _edit_bytes(rng, data, bases)
    return Input(data, None, type_)


# --- the tree ------------------------------------------------------------------------------------------------------

Place = tuple[Any, Any]  # Any: a list or an object of JSON, and an index or a name of it


def _edit_tree(rng: Random, tree: Any, bases: Sequence[JsonObject]) -> Any:
    """The tree after one edit, which may be made in place."""
    places = _places(tree)
    if not places:
        return _odd_value(rng, bases)
    holder, key = rng.choice(places)
    edit = rng.choices(
        ("replace", "text", "delete", "rename", "copy", "swap", "wrap", "add", "type"), (20, 30, 10, 10, 8, 8, 4, 12, 8)
    )[0]
    if edit == "text":
        texts = [place for place in places if isinstance(place[0][place[1]], str)]
        if texts:
            holder, key = rng.choice(texts)
            holder[key] = edit_expression(rng, holder[key])
            return tree
    if edit == "delete":
        del holder[key]
    elif edit == "rename" and isinstance(holder, dict):
        holder[_odd_name(rng, bases)] = holder.pop(key)
    elif edit == "copy":
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[name])) if _size(other[name]) < 2_000 else None
    elif edit == "swap":
        other, name = rng.choice(places)
        if _size(holder[key]) < 2_000 and _size(other[name]) < 2_000:
            mine, theirs = json.dumps(holder[key]), json.dumps(other[name])
            holder[key] = json.loads(theirs)
            if name in other if isinstance(other, dict) else name < len(other):
                other[name] = json.loads(mine)
    elif edit == "wrap":
        for _ in range(rng.choice((1, 1, 2, 12, 130, 600))):
            holder[key] = [holder[key]] if rng.random() < 0.5 else {rng.choice(_NAMES): holder[key]}
    elif edit == "add":
        value = holder[key]
        if isinstance(value, dict):
            value[_odd_name(rng, bases)] = _odd_value(rng, bases)
        elif isinstance(value, list):
            value.insert(rng.randrange(len(value) + 1), _odd_value(rng, bases))
    elif edit == "type":
        holder[key] = _other_type(rng, holder[key])
    else:
        holder[key] = _odd_value(rng, bases)
    return tree


def _places(tree: Any) -> list[Place]:
    found: list[Place] = []
    stack = [tree]
    while stack and len(found) < 5_000:
        node = stack.pop()
        members: list[tuple[Any, Any]] = []
        if isinstance(node, dict):
            members = list(node.items())
        elif isinstance(node, list):
            members = list(enumerate(node))
        for key, member in members:
            found.append((node, key))
            if isinstance(member, (dict, list)):
                stack.append(member)
    return found


def _size(value: Any) -> int:
    return len(_places(value)) if isinstance(value, (dict, list)) else 1


def _other_type(rng: Random, value: Any) -> Any:
    """The value as another type would hold it: `5` as `"5"`, a text in a list, a list as an object."""
    if isinstance(value, str):
        return rng.choice(([value], {"": value}, {value: value}, len(value), value == "", None))
    if isinstance(value, (bool, int, float)) or value is None:
        return rng.choice((str(value), json.dumps(value), [value], 0.5, not value, -1 if value else 1))
    if isinstance(value, list):
        return rng.choice(
            ({str(index): item for index, item in enumerate(value)}, value[0] if value else "", str(value))
        )
    return rng.choice((list(value.values()), list(value), json.dumps(value)[:500]))


def _odd_value(rng: Random, bases: Sequence[JsonObject]) -> Any:
    if rng.random() < 0.25:
        other = rng.choice(bases)
        places = _places(other)
        holder, key = rng.choice(places)
        if _size(holder[key]) < 500:
            return json.loads(json.dumps(holder[key]))
    if rng.random() < 0.3:
        return edit_expression(rng, rng.choice(_EXPRESSIONS))
    return json.loads(rng.choice(_VALUES))


def _odd_name(rng: Random, bases: Sequence[JsonObject]) -> str:
    if rng.random() < 0.5:
        return rng.choice(_NAMES)
    if rng.random() < 0.5:
        return str(rng.choice(_places(rng.choice(bases)))[1])
    return edit_expression(rng, rng.choice(_NAMES))


_VALUES: Final = (
    "null", "true", "false", "0", "1", "-1", "2", "0.0", "1.0", "-0.0", "0.5", "1e2", "1e300", "99999999",
    "100000000", "2147483648", "9223372036854775808", "1" + "0" * 400, "-" + "9" * 4_000, "5e-324", "[]", "{}",
    "[[]]", "[{}]", "[null]", '[""]', '{"": ""}', '""', '" "', '"\\u0000"', '"$"', '"$$"', '"$."', '"$states"',
    '"{%"', '"{%%}"', '"{% %}"', '"States.UUID()"', '"JSONata"', '"JSONPath"', '"DISTRIBUTED"', '"Succeed"',
    '"States.ALL"', '"2025-02-30T00:00:00Z"', '"\\ud83d\\ude00"', '"\\u200b"', '{"$ref": "#"}',
    '{"a.$": "$.a", "a": 1}', '[1, "a", null, []]', '{"Type": "Succeed"}', '{"Type": "Pass", "End": true}',
    '{"StartAt": "X", "States": {"X": {"Type": "Succeed"}}}',
)  # fmt: skip

_FIELDS: Final = (
    "Type", "Next", "End", "Default", "Choices", "Condition", "Variable", "And", "Not", "Retry", "Catch",
    "ErrorEquals", "Branches", "ItemProcessor", "Iterator", "ProcessorConfig", "Mode", "ItemReader", "ReaderConfig",
    "ItemBatcher", "ResultWriter", "WriterConfig", "Label", "MaxConcurrency", "MaxConcurrencyPath",
    "ToleratedFailurePercentage", "ToleratedFailureCountPath", "Items", "ItemsPath", "ItemSelector", "Parameters",
    "Arguments", "Output", "Assign", "InputPath", "OutputPath", "ResultPath", "ResultSelector", "Result", "Seconds",
    "SecondsPath", "Timestamp", "TimestampPath", "TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds",
    "HeartbeatSecondsPath", "Credentials", "Resource", "Error", "ErrorPath", "Cause", "CausePath", "QueryLanguage",
    "StartAt", "States", "Version", "Comment", "IntervalSeconds", "BackoffRate", "MaxAttempts", "MaxDelaySeconds",
    "JitterStrategy", "StringEquals", "NumericLessThanPath", "IsPresent", "TimestampGreaterThan", "StringMatches",
    "MaxItems", "MaxItemsPath", "CSVHeaders", "CSVHeaderLocation", "InputType", "BatchInput", "MaxItemsPerBatch",
    "RoleArn", "RoleArn.$",
)  # fmt: skip

_NAMES: Final = (
    *_FIELDS,
    "",
    "x",
    "x.$",
    ".$",
    "$",
    "a.b.$",
    "states",
    "states.$",
    "__proto__",
    "état",
    "\U0001f600",
    "\x00",
    "A" * 90,
)

_EXPRESSIONS: Final = (
    "$", "$.a", "$['a']['b']", "$.a[0]", "$.a[-1]", "$.a[1:3]", "$.a[*].b", "$..a", "$.*", "$.a[?(@.b == 1)]",
    "$.length()", "$.a[?(@.b =~ /x.*/i && @.c in ['x', 'y'])]", "$.a[?(!(@.b))]['x','y']", "$$.Execution.Id",
    "$$.Map.Item.Value", "$var.a[0]", "$.a.concat($.b)", "$.a[(@.length-1)]",
    "States.Format('{} \\' {}', $.a, States.MathAdd(1, $.b))", "States.Array()",
    "States.ArrayGetItem(States.Array(1, 'x', null, true), 0)", "States.JsonMerge($.a, $.b, false)",
    "States.MathRandom(1, 2)", "States.StringToJson('{\"a\": 1}')", "States.Hash($.a, 'SHA-256')",
    "{% $states.input.a %}", "{% $sum([1..3]) %}", "{% $map($states.input, function($v, $i) { $v + $i }) %}",
    "{% $states.result.a[b = 'c'].{'d': e} %}", "{% ($x := 1; $x ~> $string) %}",
    "{% $replace('a', /b(c)?/, 'd$1') %}", "{% $states.errorOutput.Cause ? 1 : 2 %}",
    "{% $states.input ~> | a | {'b': 1}, ['c'] | %}", "{% a.b^(>c, <d)@$e#$f.g %}", "{% $partition([1..10], 3) %}",
    "{% $$ %}", "{% `a b`.* %}", "{% $eval('1') %}", "{% function($x)<s:n>{ $x } %}", "{% /* c */ 1 %}", "{% %.a %}",
    "{% **.a %}", "{% -1..5 %}", "arn:aws:states:::lambda:invoke",
    "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "arn:aws:states:::states:startExecution.sync:2",
    "arn:aws:lambda:us-east-1:123456789012:function:f", "arn:aws:states:us-east-1:123456789012:activity:a",
    "arn:aws:states:::aws-sdk:dynamodb:getItem", "2025-01-01T00:00:00Z", "2025-01-01T00:00:00.123456789+02:00",
)  # fmt: skip

_PIECES: Final = (
    "$", "$$", "@", "[", "]", "(", ")", "{", "}", "'", '"', "\\", "/", ".", "..", ",", ":", "?", "*", "**", "%", "#",
    "^", "~>", ":=", "|", "!", "=", "==", "=~", "&&", "||", "-", "+", "<", ">", "0", "9", "1e", "e5", "0x1", "\n",
    "\t", " ", "\x00", "\x7f", "\u2028", "\u200b", "é", "\U0001f600", "{%", "%}", "{{", "}}", "null", "true", "in",
    "and", "function", "λ", "$states", "$states.input", "States.", "States.Format(", "[?(", ")]", "[0]", "['", "']",
    "()", "/*", "*/", "/(a+)+$/", "[1..1000000]", "9" * 30, "(" * 40, "[" * 200, "-" * 60, "$f(" * 30, "a." * 120,
    "?1:" * 40, "'\\u", "\\uD800", "...",
)  # fmt: skip


def edit_expression(rng: Random, text: str) -> str:
    """A text with one to three pieces put in, taken out, repeated or exchanged."""
    if len(text) > 5_000:
        text = text[:5_000]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        if text.startswith("{%") and text.endswith("%}") and len(text) > 6 and rng.random() < 0.9:
            at = rng.randrange(2, len(text) - 1)
        edit = rng.randrange(7)
        if edit <= 2:
            text = text[:at] + rng.choice(_PIECES) + text[at:]
        elif edit == 3:
            text = text[:at] + text[at + rng.choice((1, 1, 2, 5)) :]
        elif edit == 4:
            text = text[:at] + rng.choice(_PIECES) + text[at + 1 :]
        elif edit == 5:
            piece = text[at : at + rng.randrange(1, 12)]
            text = text[:at] + piece * rng.choice((2, 2, 3, 20)) + text[at:]
        else:
            text = text[:at] + rng.choice(_EXPRESSIONS) + text[at:]
    return text


# --- the text ------------------------------------------------------------------------------------------------------


def _indented(text: str, indent: int) -> str:
    """A JSON text on several lines. json.dumps does that in Python, ten times as slowly."""
    try:
        return msgspec.json.format(text, indent=indent)
    except ValueError:  # a lone surrogate, or nested too deeply
        return json.dumps(json.loads(text), indent=indent, ensure_ascii=text.isascii())


def _printed(rng: Random, tree: Any) -> str:
    style = rng.randrange(4)
    if style == 0:
        return json.dumps(tree)
    if style == 1:
        text, indent = json.dumps(tree, ensure_ascii=False), rng.choice((1, 2, "\t"))
        if isinstance(indent, int):
            return _indented(text, indent)
        return re.sub("^ +", lambda blanks: "\t" * len(blanks[0]), _indented(text, 1), flags=re.MULTILINE)
    if style == 2:
        return json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
    return rng.choice(("\ufeff", "", "\r\n", "  ", "\x0b")) + _indented(json.dumps(tree), 2).replace(
        "\n", rng.choice(("\r\n", "\r", "\n"))
    )


_TOKENS: Final = (
    "{", "}", "[", "]", ":", ",", '"', '""', "null", "true", "NaN", "Infinity", "-Infinity", "-", "+1", "01", "1.",
    ".5", "1e", "1e999", "-0", "0x10", "1_000", "'a'", "/* c */", "// c\n", "# c\n", "\x00", "\x1f", "\ufeff",
    "\u2028", "\\", '"\\ud800"', '"\\udc00\\ud800"', '"\\u12"', '"\\x"', '"\ud800"', "\udfff", "undefined", "\t",
    "\n", '"a":1,', "{" * 300, "[" * 600, '{"a":' * 501, '"' + "x" * 3_000 + '"', "9" * 5_000,
)  # fmt: skip


def _edit_text(rng: Random, text: str) -> str:
    """One edit of tokens; among them a member that is named twice."""
    tokens = _TOKEN.findall(text)
    if not tokens:
        return rng.choice(_TOKENS)
    at = rng.randrange(len(tokens))
    edit = rng.randrange(7)
    if edit == 0:
        tokens[at] = rng.choice(_TOKENS)
    elif edit == 1:
        tokens.insert(at, rng.choice(_TOKENS))
    elif edit == 2:
        del tokens[at : at + rng.choice((1, 1, 2, 6))]
    elif edit == 3:
        tokens[at:at] = tokens[at : at + rng.randrange(1, 20)]
    elif edit == 4:
        other = rng.randrange(len(tokens))
        tokens[at], tokens[other] = tokens[other], tokens[at]
    elif edit == 5:
        del tokens[at:]
    else:
        _repeat_name(rng, tokens)
    return "".join(tokens)


def _repeat_name(rng: Random, tokens: list[str]) -> None:
    """Puts the name of another member in the place of one, so that it often stands twice."""
    names = [at for at, token in enumerate(tokens[:-1]) if token.startswith('"') and ":" in tokens[at + 1 : at + 3]]
    if len(names) > 1:
        first = rng.randrange(len(names) - 1)
        tokens[names[first + 1]] = tokens[names[first]]


_YAML_ODDITIES: Final = (
    "a: &x [*x]\n", "? [a, b]\n: c\n", "<<: {Comment: x}\n", "<<: *none\n", "--- \n", "...\n", "%YAML 1.1\n---\n",
    "%TAG ! tag:x,2000:\n---\n", "Comment: !!python/object:os.system x\n", "Comment: !!binary aGk=\n",
    "Comment: !!set {a, b}\n", "Comment: !!timestamp 2025-01-01\n", "Comment: !!int x\n", "Comment: !!float 1e999\n",
    "Comment: 0o17\n", "Comment: 0x1F\n", "Comment: 1_000\n", "Comment: .inf\n", "Comment: 12:30:45\n",
    "Comment: on\n", "Comment: ~\n", "Comment: |\n  a\n   b\n", "Comment: >-\n  a\n", "Comment: 'it''s'\n",
    'Comment: "\\x41\\u263A\\U0001F600"\n', 'Comment: "\\ud800"\n', "\tComment: x\n", "Comment: x: y\n", "- a\n",
    "Comment: [a, b\n", "Comment: {a: b\n", "Comment: @x\n", "Comment: `x\n", "Comment: %x\n", "? \n", "? Comment\n",
    ": x\n", "1: x\n", "null: x\n", "true: x\n", "[]: x\n", "{}: x\n", "&a : x\n", "Comment: &a &b c\n",
    "Comment: *a\n",
    "a: &a {b: &b [x, x, x, x]}\nc: &c [*b, *b, *b, *b]\nd: &d [*c, *c, *c, *c]\ne: [*d, *d, *d, *d]\n",
    "!!map {Comment: x}\n", "!x Comment: y\n", "Comment: !<tag:yaml.org,2002:str> 5\n", "Comment: \x00\n",
    "Comment: \x85 \u2028 \ufeff\n", "# c\n", "Version: 1.0\n", "Version: '1.0'\n", "StartAt: yes\n",
    "TimeoutSeconds: 1e3\n", "Comment: " + "[" * 700 + "\n", "Comment: " + "9" * 5_000 + "\n", "- " * 600 + "x\n",
)  # fmt: skip


def _yaml(rng: Random, tree: Any) -> str:
    """The tree as YAML, with oddities of the format put between its lines."""
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # Any: PyYAML's dumpers are told apart by no type
    try:
        text = yaml.dump(
            tree,
            Dumper=dumper,
            allow_unicode=rng.random() < 0.5,
            sort_keys=False,
            default_flow_style=rng.choice((False, False, None, True)),
            width=rng.choice((20, 80, 100_000)),
        )
    except (yaml.YAMLError, UnicodeError, RecursionError):
        text = json.dumps(tree)
    lines = text[:_MOST_CHARACTERS].splitlines(keepends=True)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        at = rng.choice((0, rng.randrange(len(lines) + 1)))
        indent = " " * rng.choice((0, 0, 2, 4))
        lines.insert(at, indent + rng.choice(_YAML_ODDITIES))
    text = "".join(lines)
    if rng.random() < 0.3:
        text = _edit_text(rng, text)
    if rng.random() < 0.2:
        text = edit_expression(rng, text) if len(text) < 5_000 else text
    return text


# --- bytes ---------------------------------------------------------------------------------------------------------

_BYTES: Final = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\xf0\x9f\x98\x80", b"\xc3", b"\x80", b"\xef\xbb\xbf", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n",
    b"\r", b"\x1b", b"\\u0000", b"\\ud800",
)  # fmt: skip


def _edit_bytes(rng: Random, data: bytes, bases: Sequence[JsonObject]) -> bytes:
    at = rng.randrange(len(data) + 1)
    edit = rng.randrange(8)
    if edit == 0 and data:
        flipped = bytearray(data)
        flipped[at % len(data)] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if edit == 1:
        return data[:at] + rng.choice(_BYTES) + data[at:]
    if edit == 2:
        return data[:at] + rng.choice(_BYTES) + data[at + 1 :]
    if edit == 3:
        return data[:at] + data[at + rng.choice((1, 2, 8, 64)) :]
    if edit == 4:
        return data[:at]
    if edit == 5:
        other = json.dumps(rng.choice(bases)).encode()
        return data[:at] + other[rng.randrange(len(other)) :][:20_000]
    if edit == 6:
        return data[:at] + rng.randbytes(rng.choice((1, 1, 2, 8))) + data[at:]
    return data[:at] + data[at : at + 100] * rng.choice((2, 10)) + data[at:]


def _deep(rng: Random) -> str:
    depth = rng.choice((100, 499, 500, 501, 502, 1_000, 5_000, 100_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('{"States":', "}"), ('[{"Branches":', "}]")))
    inside = rng.choice(("", "1", '"x"'))
    return opening * depth + inside + (closing * depth if rng.random() < 0.7 else "")


def _nested_machines(rng: Random) -> str:
    depth = rng.choice((5, 20, 60, 120, 240, 480))
    text = '{"StartAt":"S","States":{"S":{"Type":"Succeed"}}}'
    for level in range(depth):
        if rng.random() < 0.5:
            text = (
                f'{{"StartAt":"S{level}","States":{{"S{level}":{{"Type":"Parallel","End":true,"Branches":[{text}]}}}}}}'
            )
        else:
            text = (
                f'{{"StartAt":"S{level}","States":{{"S{level}":{{"Type":"Map","End":true,"ItemProcessor":{text}}}}}}}'
            )
    return text


def _nested_rules(rng: Random) -> str:
    depth = rng.choice((5, 50, 100, 150, 240, 490))
    rule = '{"Variable":"$.a","IsNull":true}'
    for _ in range(depth):
        rule = f'{{"Not":{rule}}}' if rng.random() < 0.5 else f'{{"And":[{rule}]}}'
    rule = rule[:-1] + ',"Next":"S"}'
    return f'{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{rule}]}},"S":{{"Type":"Succeed"}}}}}}'


def _nested_template(rng: Random) -> str:
    depth = rng.choice((5, 50, 100, 150, 240, 490))
    value = rng.choice(('{"x.$":"$.a"}', '"{% 1 %}"', '"x"'))
    for _ in range(depth):
        value = f'{{"a":{value}}}' if rng.random() < 0.5 else f"[{value}]"
    field, language = rng.choice(
        (("Parameters", "JSONPath"), ("Output", "JSONata"), ("Result", "JSONPath"), ("Assign", "JSONata"))
    )
    return json.dumps(
        {
            "StartAt": "P",
            "States": {"P": {"Type": "Pass", "QueryLanguage": language, field: json.loads(value), "End": True}},
        }
    )


def _deep_expression(rng: Random) -> str:
    """One expression nested or repeated far beyond what anybody writes."""
    count = rng.choice((50, 200, 1_000, 5_000, 10_000))
    expressions = (
        "(" * count + "1" + ")" * count, "[" * count + "]" * count, "-" * count + "1", "1+" * count + "1",
        "a." * count + "b", "$string(" * count + "1" + ")" * count, "true?" * count + "1",
        "function(){" * count + "1" + "}" * count, "{'a':" * count + "1" + "}" * count,
        "a[" * count + "1" + "]" * count, "1~>$f" * count, "'" + "x" * count + "'",
        "/" + "(a" * count + ")" * count + "/", "%." * count + "a", "$x:=" * count + "1", "(" * count,
        "/* " * count, "`" * count, "a@$b#$c" * count, "1" * count, "$not(" * count,
    )  # fmt: skip
    paths = (
        "$" + ".a" * count, "$" + "[0]" * count, "$" + "..a" * count,
        "$[?(" + "(" * count + "@.a" + ")" * count + ")]", "$[?(" + "!" * count + "@.a)]",
        "$[?(@.a" + " && @.a" * count + ")]", "$[" + "0," * count + "0]", "$['" + "a" * count + "']",
        "$" + "[?(@" * count, "$" + ".length()" * count, "$[?(@.a =~ /" + "(a*)*" * count + "/)]",
        "$[" + "9" * count + "]", "$[" + "1:" * count + "]", "States.Array(" * count + ")" * count,
        "States.Format('" + "{}" * count + "')", "States.Array(" + "1," * count + "1)", "States.Hash(" * count,
    )  # fmt: skip
    jsonata, path = rng.choice(expressions), rng.choice(paths)
    if rng.random() < 0.5:
        state: JsonObject = {"Type": "Pass", "QueryLanguage": "JSONata", "Output": f"{{% {jsonata} %}}", "End": True}
    else:
        fields: tuple[JsonObject, ...] = ({"InputPath": path}, {"Parameters": {"a.$": path}}, {"ResultPath": path})
        state = {"Type": "Pass", **rng.choice(fields), "End": True}
    return json.dumps({"StartAt": "P", "States": {"P": state}})


def _wide(rng: Random) -> str:
    count = rng.choice((100, 1_000, 5_000))
    states: dict[str, Json] = {f"S{i}": {"Type": "Pass", "Next": f"S{(i * 7 + 1) % count}"} for i in range(count)}
    states["S0"] = {"Type": "Pass", "End": True}
    kind = rng.randrange(3)
    if kind == 0:
        return json.dumps({"StartAt": "S0", "States": states})
    if kind == 1:
        return json.dumps({"StartAt": "S0", "States": {"S0": {"Type": "Pass", **{f"F{i}": i for i in range(count)}}}})
    names = {f"n{i}": "{% $n" + str(i) + " %}" for i in range(count)}
    return json.dumps(
        {"QueryLanguage": "JSONata", "StartAt": "P", "States": {"P": {"Type": "Pass", "Assign": names, "End": True}}}
    )


def _scraps(rng: Random) -> str:
    return "".join(
        rng.choice(rng.choice((_TOKENS, _PIECES, _YAML_ODDITIES, _EXPRESSIONS))) for _ in range(rng.randrange(12))
    )


def _noise(rng: Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 2, 3, 10, 100, 1_000)))


_EXTREMES: Final[tuple[Callable[[Random], str | bytes], ...]] = (
    _deep, _nested_machines, _nested_rules, _nested_template, _deep_expression, _deep_expression, _wide, _scraps,
    _scraps, _noise,
)  # fmt: skip
