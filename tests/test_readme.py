"""The README's library example runs, and gives the density it prints."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_library_example_reaches_its_density(capsys):
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    asked = re.search(r"print\(.*# (\d+) = int", code)
    assert asked and capsys.readouterr().out.strip() == asked[1]
    assert float(names["loss"]) < 0.4  # of ln 2 = 0.69 at the start: it has learned
