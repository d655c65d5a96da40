"""Plain text tables."""

from __future__ import annotations

from collections.abc import Sequence


def render(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Renders a table: the first ``left`` columns aligned to the left, the others to the right.

    >>> print(render(["layer", "kept"], [["0", "9.5%"], ["all", "10.0%"]]))
    layer   kept
    -----  -----
    0       9.5%
    all    10.0%
    """
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def percent(fraction: float | None, digits: int = 2) -> str:
    """Formats a fraction as a percentage, "-" for None.

    >>> percent(0.0304), percent(None)
    ('3.04%', '-')
    """
    return "-" if fraction is None else f"{100 * fraction:.{digits}f}%"
