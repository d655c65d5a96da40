"""The shape of the code: imports point downward, files and functions stay small, prose is plain."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mpjax"
# From the bottom up: a room imports from its own and from lower levels, never from higher ones.
LEVELS = (
    ("errors", "log", "hostmemory"),
    ("disk",),
    ("temporary",),
    ("files", "locks", "outputs"),
    ("plugins", "trackers"),
    ("arrays",),
    ("pruning",),
    ("optim",),
    ("linen",),
    ("models", "report"),
    ("sparse",),
    ("tasks",),
    ("config",),
    ("parallel",),
    ("runs",),
    ("training", "cards"),
    ("sweep", "export", "planning"),
    ("pages",),
    ("quickstart",),
    ("cli",),
    ("__init__", "__main__"),
)
RANK = {room: rank for rank, rooms in enumerate(LEVELS) for room in rooms}
# Imports inside functions, all for speed: `mpjax --help` and most refusals need no jax. Those of a
# command's `run` come after its options have been checked.
LAZY = {
    "mpjax.pages.write": {"mpjax.pages.page"},  # needs the packages of an extra
    "mpjax.sparse": {"mpjax.sparse.forward", "mpjax.sparse.matrices"},  # the same
    "mpjax.runs.folder": {"mpjax.models.precision"},  # reading run folders needs no jax
    "mpjax.config.resolve": {"mpjax.pruning.rules"},
    "mpjax.config.structure": {"mpjax.models.structure", "mpjax.pruning.granularities"},
}
LAZY_ROOMS = ("mpjax.cli.", "mpjax.quickstart")
CATALOGUES = (
    "mpjax/cli",
    "mpjax/tasks/catalog",
    "mpjax/pruning/rules",
    "mpjax/models/families",
    "mpjax/config/recipes",
)
MOST_FILES, MOST_LINES, MOST_PARAMETERS = 15, 60, 7
RIDDLES = re.compile(r"(What|Those|The same|In how|Up to where|Which|Of)\b")


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
ALL_PYTHON = sorted(
    path for folder in ("mpjax", "experiments", "tests") for path in (ROOT / folder).rglob("*.py")
)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(node: ast.AST) -> Iterator[str]:
    """Modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    if isinstance(node, ast.ImportFrom) and node.module in MODULES:
        submodules = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in MODULES else node.module for name in submodules)


def imports(name: str) -> Iterator[tuple[str, bool]]:
    """Modules that a module imports, and whether inside a function; typing-only imports too."""
    tree = TREES[name]
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(child) for function in functions for child in ast.walk(function)}
    for node in ast.walk(tree):
        for target in imported(node):
            if target != name:
                yield target, id(node) in inside


def test_every_room_has_a_level():
    assert {room(name) for name in MODULES} == set(RANK)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downward(name):
    if name == "mpjax":  # the façade loads names of every room when they are asked for
        return
    upward = {
        target
        for target, _ in imports(name)
        if RANK[room(target)] > RANK[room(name)]
        or (RANK[room(target)] == RANK[room(name)] and room(target) != room(name))
    }
    assert not upward - {"mpjax"}, f"{name} imports from rooms above or beside it"


def test_no_circles():
    edges = {name: {t for t, _ in imports(name)} for name in MODULES if name != "mpjax"}
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import circle: {' -> '.join((*above, name))}"
        if name in finished or name not in edges:
            return
        for target in sorted(edges[name]):
            visit(target, (*above, name))
        finished.add(name)

    for name in edges:
        visit(name, ())


def test_imports_inside_functions_are_listed():
    found = {
        name: {target for target, inside in imports(name) if inside}
        for name in MODULES
        if not name.startswith(LAZY_ROOMS) and name != "mpjax"
    }
    assert {name: targets for name, targets in found.items() if targets} == LAZY


def test_folders_are_small():
    for folder in {path.parent for path in ALL_PYTHON}:
        if str(folder.relative_to(ROOT)) not in CATALOGUES:
            files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(files) <= MOST_FILES, f"{folder}: {len(files)} files"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    args = function.args
    positional = [arg.arg for arg in args.posonlyargs + args.args]
    named = len(positional) + len(args.kwonlyargs) - (positional[:1] in (["self"], ["cls"]))
    return named + (args.vararg is not None) + (args.kwarg is not None)


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = ast.get_docstring(function)
    spoken = docstring.count("\n") + 1 if docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - spoken


@pytest.mark.parametrize("path", ALL_PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short_and_docstrings_are_plain(path):
    for function in functions(path):
        where = f"{path.name}:{function.lineno} {function.name}"
        assert lines(function) <= MOST_LINES, f"{where} has {lines(function)} lines"
        if not path.is_relative_to(ROOT / "tests"):
            assert parameters(function) <= MOST_PARAMETERS, f"{where}: {parameters(function)}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            assert not RIDDLES.match(text), f"{path.name}: {text.splitlines()[0]}"
