"""Records of a run that a disk or a stranger has changed."""

import pytest

from mpjax.runs import journal
from mpjax.runs.folder import RunDir


@pytest.mark.parametrize("damage", ["", ', "seconds": "9"', ', "seconds": true', ', "seconds": []',
                                    ', "seconds": -1e9', ', "seconds": 1e400',
                                    f', "seconds": {"9" * 290}'])  # fmt: skip
def test_a_line_without_its_seconds_counts_as_none(tmp_path, damage):
    lines = ('{"step": 1, "seconds": 1.5}', f'{{"step": 2{damage}}}', '{"step": 3, "seconds": 2}')
    (tmp_path / "timings.jsonl").write_text("\n".join(lines) + "\n")
    assert journal.seconds(RunDir(tmp_path)) == 3.5
