"""Links to files outside of docs/ that have a page on the site lead to that page.

A page says `../experiments/results/README.md`, which works in the repository. The site holds the
same text as the page `results`, which includes that file.
"""

from sphinx.application import Sphinx

PAGES = {
    "../experiments/results/README.md": "results.md",
    "../experiments/results/recipes/README.md": "results-recipes.md",
}


def to_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    for file, page in PAGES.items():
        source[0] = source[0].replace(f"]({file}", f"]({page}")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", to_pages)
    return {"parallel_read_safe": True}
