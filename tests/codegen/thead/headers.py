"""The csinn C API as data: functions with their operands, structs of parameters with their fields, enumerators.

`csinn_api.json` beside this file was made from the headers of SHL 3.2.2 by `api_of`, and holds nothing but names and
kinds; tests/vendor/test_thead_operators.py compares it with the headers again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("csinn_api.json")
PREFIXES = ("csinn_", "shl_")
SCALARS = {"int32_t": "int", "int": "int", "float": "float", "double": "float", "bool": "bool", "int32_t*": "ints"}


def read_api() -> dict[str, Any]:
    """The API as it is kept here."""
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content


def api_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """The API of headers, by file name. Each function F has an F_init with the same operands."""
    data = _plain(texts["csinn_data_structure.h"])
    functions: dict[str, list[str]] = {}
    for name, arguments in re.findall(r"\bint (csinn_\w+)\(([^)]*)\)\s*;", _plain(texts["csi_nn.h"])):
        kinds = [_kind(argument) for argument in arguments.split(",")]
        if kinds[-1].endswith("_params"):
            functions.setdefault(name.removesuffix("_init"), kinds)
    structs = {
        name: _fields(body) for name, body in re.findall(r"struct (csinn_\w+_params) \{(.*?)\n\};", data, re.DOTALL)
    }
    enumerators = {
        enumerator: name
        for name, body in re.findall(r"enum (csinn_\w+) \{(.*?)\n\};", data, re.DOTALL)
        for enumerator in re.findall(r"^\s*(CSINN_\w+)", body, re.MULTILINE)
    }
    return {"functions": functions, "structs": structs, "enumerators": enumerators}


def _plain(text: str) -> str:
    """Without comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def _kind(argument: str) -> str:
    """Of an argument: "tensor", "tensors", or the struct of parameters."""
    words = argument.replace("*", " * ").split()
    if "csinn_tensor" in words:
        return "tensors" if words.count("*") == 2 else "tensor"
    return words[1] if words[0] == "struct" else words[0]


def _fields(body: str) -> dict[str, str]:
    """Kinds of fields by name; those of a struct within have its name in front."""
    nested = re.search(r"struct \{(.*?)\} (\w+);", body, re.DOTALL)
    own = body if nested is None else body.replace(nested.group(0), "")
    fields = {name: _field(type_) for type_, name in re.findall(r"^\s*([\w ]+?\*?) ?\b(\w+);", own, re.MULTILINE)}
    fields |= {name: "ints" for name in re.findall(r"int32_t \*(\w+);", own)}
    if nested is not None:
        fields |= {f"{nested.group(2)}.{key}": kind for key, kind in _fields(nested.group(1)).items()}
        fields |= {f"{nested.group(2)}.{key}": "pointer" for key in re.findall(r"struct \w+ \*(\w+);", nested.group(1))}
    return fields


def _field(type_: str) -> str:
    type_ = type_.strip()
    return type_.removeprefix("enum ") if type_.startswith("enum ") else SCALARS.get(type_.replace(" ", ""), type_)
