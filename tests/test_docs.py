"""README and pages of docs/: Python runs, commands parse, options exist, links lead somewhere."""

import functools
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

from mpjax import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
# Their Python needs files that these tests make.
ELSEWHERE = {"own-data.md": "tests/own/test_own_docs.py", "plugins.md": "tests/test_plugins.py"}
OTHERS = {"--signal"}  # of other programs


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = "") -> list[str]:
    """Code of the fenced blocks of a language."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", text(page), re.M | re.S)
    return [code for name, code in found if name == language]


def prose(page: Path) -> str:
    """Text without fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.M | re.S)


def commands(program: str) -> list[tuple[Path, str]]:
    """Command lines of all pages that call a program, continued lines joined."""
    found = []
    for page in PAGES:
        lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
        parts = [part.strip() for line in lines for part in line.split("&&")]
        found += [(page, part) for part in parts if part.startswith(program)]
    return found


@functools.cache
def options() -> set[str]:
    """Options of every command of mpjax."""
    _, parsers = cli.build_parser()
    known = {flag for parser in parsers.values() for flag in parser._option_string_actions}
    return known | {"--version"}


@functools.cache
def experiments() -> str:
    """Source of all experiments, in which an option is a string."""
    return "".join(text(path) for path in sorted((ROOT / "experiments").rglob("*.py")))


def names(cases: list[tuple[Path, str]]) -> list[str]:
    return [f"{page.name}:{number}" for number, (page, _) in enumerate(cases)]


with_python = [page for page in PAGES if blocks(page, "python") and page.name not in ELSEWHERE]


@pytest.mark.parametrize("page", with_python, ids=lambda page: page.name)
def test_the_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), names)
    if page.name == "library.md":
        the_library_example_reaches_its_densities(text(page), capsys.readouterr().out)


def the_library_example_reaches_its_densities(page, out):
    found = re.findall(r"loss ([\d.]+), density ([\d.]+)%", out)
    asked = re.search(r"# density ([\d.]+)% = int", page)
    assert asked and len(found) == 2
    assert found[0][1] == asked[1]
    assert 1 < float(found[1][1]) < 50  # λ took scores below the threshold at which they started
    assert all(float(loss) < 0.4 for loss, _ in found)  # of ln 2 = 0.69 at the start: it learns


def test_the_examples_of_other_pages_run_elsewhere():
    for page, file in ELSEWHERE.items():
        assert blocks(DOCS / page, "python")
        assert f'"{page}"' in (ROOT / file).read_text(encoding="utf-8")


OURS = commands("mpjax ")


@pytest.fixture(scope="module")
def one_parser():
    """Builds the parser once, not for every command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["mpjax.cli.main"], "build_parser", lambda: parsers)
        parsers = cli.build_parser()
        yield


@pytest.mark.usefixtures("one_parser")
@pytest.mark.parametrize("page, line", OURS, ids=names(OURS))
def test_commands_have_the_options_that_there_are(page, line):
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    if "--config" in words:  # the file is not there; the other words are checked
        at = words.index("--config")
        words = words[:at] + words[at + 2 :]
    assert cli.parse(words).command == words[0]


EXPERIMENTS = commands("python -m experiments.")


def test_experiments_have_the_options_that_there_are():
    known = options()
    assert len(EXPERIMENTS) >= 9
    for page, line in EXPERIMENTS:
        words = shlex.split(line, comments=True)
        module = words[words.index("-m") + 1]
        spec = importlib.util.find_spec(module)
        assert spec and spec.origin, f"{page.name}: {line}"
        for flag in (word for word in words if word.startswith("--")):
            assert flag in known or f'"{flag}"' in experiments(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_in_the_text_exist(page):
    spans = "\n".join(re.findall(r"`([^`\n]+)`", prose(page)))
    for flag in set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?!-)", spans)):
        known = options() | OTHERS
        assert flag in known or f'"{flag}"' in experiments(), flag


@functools.cache
def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.M)
    plain = [re.sub(r"[^\w\- ]", "", title.strip().lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_in_the_readme_or_the_index():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in (README, DOCS / "index.md", DOCS / "api" / "index.md")
        for link in re.findall(r"\]\(([^)\s]+)\)", text(page))
    }
    only_on_the_site = {DOCS / name for name in ("results.md", "results-recipes.md", "commands.md")}
    pages = set(DOCS.rglob("*.md")) - only_on_the_site - {DOCS / "index.md"}
    assert pages <= linked, pages - linked


def test_the_readme_is_one_screen_and_says_how_to_test():
    assert len(text(README).splitlines()) <= 90
    assert "\n```\npip install -e '.[test]' && pytest\n```\n" in text(README)
