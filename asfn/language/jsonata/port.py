"""The one place that imports jsonata-python, whose import raises the interpreter's recursion limit: it is put back."""

from __future__ import annotations

import sys
from typing import Any, Final

_limit: Final = sys.getrecursionlimit()
try:
    from jsonata.functions import Functions
    from jsonata.jexception import JException
    from jsonata.jsonata import Jsonata as _Jsonata
    from jsonata.parser import Parser
    from jsonata.regex_engine import RegexFlags
    from jsonata.signature import Signature
    from jsonata.tokenizer import Tokenizer
    from jsonata.utils import Utils
finally:
    sys.setrecursionlimit(_limit)

Jsonata: Final[Any] = _Jsonata

__all__ = [
    "Functions",
    "JException",
    "Jsonata",
    "Parser",
    "RegexFlags",
    "Signature",
    "Tokenizer",
    "Utils",
]
