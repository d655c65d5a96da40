"""Options in a YAML or JSON file, read without YAML's surprises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from mpjax.errors import InputError
from mpjax.files import parse_json, read_bytes, shown

_LARGEST = 1 << 20  # bytes


def read_options(path: Path) -> dict[str, Any]:
    """Mapping in a file: JSON where its name ends in .json, YAML otherwise.

    YAML is read by the core schema of YAML 1.2: PyYAML reads 1.1, where 2:4 is the number 124,
    3e-5 is a text and no is false.

    Raises:
      InputError: a file that cannot be read, is no mapping of names, names one twice, or refers to
        a part of itself.
    """
    content = read_bytes(path, most=_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"--config {shown(path)} has more than {_LARGEST:,} bytes of options")
    found = parse_json(path, content) if path.suffix == ".json" else _parse_yaml(path, content)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        kind = "names that are no text" if isinstance(found, dict) else type(found).__name__
        raise InputError(
            f"--config {shown(path)} holds {kind}; give a mapping, as density: 0.1 on a line"
        )
    return found


def _parse_yaml(path: Path, content: bytes) -> Any:
    try:
        return yaml.load(content.decode("utf-8-sig"), _Core)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f" line {mark.line + 1}"
        raise InputError(f"--config {shown(path)}{line}: not YAML ({error.problem})") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are not UTF-8
        raise InputError(f"--config {shown(path)}: not YAML ({shown(error)})") from error
    except RecursionError as error:
        raise InputError(f"--config {shown(path)}: values are too deep in each other") from error


class _Core(yaml.SafeLoader):
    """Loader of the core schema, without references and repeated names."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # filled below

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="a reference with *", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in names:
                raise yaml.MarkedYAMLError(
                    problem=f"{shown(name)} is there twice", problem_mark=key.start_mark
                )
            names.add(name)
        return super().construct_mapping(node, deep)


_KINDS = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
}
for _kind, (_pattern, _first) in _KINDS.items():
    _Core.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})\\Z"), list(_first)
    )
_Core.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"\Z"), [""])
_Core.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Core.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))
