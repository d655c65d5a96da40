"""Metadata: one version, declared dependencies, lower bounds as pins, smoke tests that exist."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import mpjax
from mpjax.cli import main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
# Installed by `pip install -e '.[test]'`, as the floor leg does.
TESTED = DEPENDENCIES + [
    Requirement(text) for name in ("test", "tensorboard", "docs") for text in EXTRAS[name]
]
BOUNDED = [requirement for requirement in TESTED if requirement.name != "mpjax"]
# Distributions whose module has another name.
MODULES = {"orbax-checkpoint": "orbax", "pyyaml": "yaml"}


def lines(name: str) -> list[str]:
    """Lines of a file in .ci, without comments."""
    text = (ROOT / ".ci" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(name: str) -> dict[str, Version]:
    """Versions by normalised name."""
    pairs = (line.split("==") for line in lines(name))
    return {canonicalize_name(project): Version(version) for project, version in pairs}


def test_the_version_stands_in_one_place(capsys):
    assert "version" not in PROJECT["project"] and PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "mpjax.__version__"
    assert Version(mpjax.__version__) >= Version("0.2.0.dev0")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == mpjax.__version__
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == Version(mpjax.__version__).base_version


@pytest.mark.parametrize("requirement", BOUNDED, ids=lambda r: r.name)
def test_lower_bounds_are_the_pins_of_the_floor_leg(requirement):
    (bound,) = [Version(s.version) for s in requirement.specifier if s.operator == ">="]
    assert pins("floor.txt")[canonicalize_name(requirement.name)] == bound


@pytest.mark.parametrize("file", ["floor.txt", "constraints.txt"])
def test_pins_are_allowed(file):
    pinned = pins(file)
    for requirement in BOUNDED:
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_every_import_is_declared():
    imported = set()
    for path in (ROOT / "mpjax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    optional = {Requirement(text).name for name in EXTRAS for text in EXTRAS[name]}
    declared = {MODULES.get(r.name, r.name) for r in DEPENDENCIES} | optional
    foreign = imported - set(sys.stdlib_module_names) - {"mpjax", "__future__"}
    assert foreign - declared == set()


def test_smoke_tests_exist():
    for line in lines("smoke.txt"):
        file, _, name = line.partition("::")
        assert (ROOT / file).exists(), line
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), line


def test_types_and_licence_are_shipped():
    assert (ROOT / "mpjax" / "py.typed").is_file()
    shipped = PROJECT["tool"]["setuptools"]["package-data"]["mpjax"]
    assert all(list((ROOT / "mpjax").glob(pattern)) for pattern in shipped), shipped
    files = {p.relative_to(ROOT / "mpjax") for p in (ROOT / "mpjax").rglob("*") if p.is_file()}
    data = {p for p in files if p.suffix not in (".py", ".pyc")}
    assert data == {p for p in files if any(p.match(pattern) for pattern in shipped)}
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_the_workflow_runs_every_leg():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    legs = dict(re.findall(r"\[(\w+)\]=([\d.]+)", script))
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert re.search(r"if: .*schedule(?s:.*)run: \.ci/run exhaustive", workflow)
    assert legs.pop("exhaustive") in workflow
    assert legs == dict(re.findall(r'leg: (\w+), python: "([\d.]+)"', workflow)) and len(legs) == 3
