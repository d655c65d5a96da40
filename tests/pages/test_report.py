"""The report: what it says of runs, damaged ones included, and that it is one whole page."""

import html.parser
import os
import re
import shutil
import subprocess

import numpy as np
import planted_runs as planted
import pytest

from mpjax.cli import main
from mpjax.errors import InputError
from mpjax.pages.material import gather
from mpjax.pages.reading.facts import density_asked, facts
from mpjax.pages.reading.places import read_runs
from mpjax.pages.reading.published import runs
from mpjax.pages.sections.tradeoff import tradeoff
from mpjax.pages.write import write_after, write_report

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    planted.run(root / "one")
    planted.run(root / "two", seed=1)
    planted.run(root / "dense", 1.0, method="dense", density=None)
    planted.run(root / "heads", structure="heads")
    return root


@pytest.fixture(scope="module")
def page(root):
    runs = [root / name for name in ("one", "two", "dense", "heads")]
    return write_report(runs, root / "report.html").read_text(encoding="utf-8")


class Loads(html.parser.HTMLParser):
    """Attributes by which a page loads something, and its captions and headers of tables."""

    def __init__(self):
        super().__init__()
        self.found, self.tables, self.captions, self.bare = [], 0, 0, 0

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.found += [v for k, v in attrs if k in ("src", "srcset", "data") or
                       (k == "href" and not v.startswith("#"))]  # fmt: skip
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.bare += tag == "th" and "scope" not in known


def test_the_page_is_whole(page):
    parser = Loads()
    parser.feed(page)
    assert parser.found == []
    assert "default-src 'none'" in page and not re.search(r"@import|url\(\s*['\"]?http", page)
    assert len(page.encode()) < 5e6
    assert parser.tables == parser.captions > 5 and parser.bare == 0


def test_the_page_holds_every_section(page):
    for section in ("summary", "tradeoff", "training", "remaining", "churn", "weights", "units",
                    "overlap", "background"):  # fmt: skip
        assert f'<section id="{section}"' in page, section
    for text in ("a planted warning", "1 min 15 s", "mean of", "80.00 accuracy"):
        assert text in page, text


def test_a_teacher_is_shown_where_its_rows_were_the_same(tmp_path):
    planted.run(tmp_path / "teacher", 1.0, method="dense")
    for limit, shown in ((None, 80.0), (5, None)):
        student = planted.run(
            tmp_path / f"student{limit}", teacher=str(tmp_path / "teacher"), limit_eval=limit
        )
        runs = read_runs([student])
        assert facts(runs[0], runs).teacher == shown


def test_runs_of_other_rows_and_other_starts_share_no_curve(root, tmp_path):
    own = {"task": "classification", "data": "/a.csv"}
    planted.run(tmp_path / "a", **own)
    planted.run(tmp_path / "b", 0.5, **own)
    planted.run(tmp_path / "c", 0.5, **own | {"data": "/b.csv"})
    planted.run(tmp_path / "d", 0.4, **own | {"data": "/b.csv"}, model="/models/other")
    page = write_report([tmp_path], tmp_path / "page.html").read_text(encoding="utf-8")
    for name in ("a.csv", "b.csv"):
        assert f"classification: accuracy over density, data /{name}" in page
    assert '"movement"' in page  # the legend of the curve from a to b
    material = gather(read_runs([tmp_path / "c", tmp_path / "d"]), 2)
    (plot,) = tradeoff(material).plots
    assert not plot.model.legend  # c and d are not joined
    planted.run(tmp_path / "e", 0.3, **own | {"data": "/b.csv"}, model="/models/other")
    material = gather(read_runs([tmp_path / name for name in "cde"]), 3)
    (legend,) = tradeoff(material).plots[0].model.legend
    assert [item.label.value for item in legend.items] == ["movement (other)"]


def test_a_hundred_curves_stay_small(root, tmp_path):
    random = np.random.default_rng(0).random
    lines = [{"step": s, **{n: random() for n in ("loss", "lam", "density", "penalty",
              "threshold", "task_loss", "grad_norm", "learning_rate")}}
             for s in range(1200)]  # fmt: skip
    for i in range(64):
        shutil.copytree(root / "one", tmp_path / "runs" / str(i))
        planted.write(tmp_path / "runs" / str(i) / "metrics.jsonl", *lines)
    assert write_report([tmp_path / "runs"], tmp_path / "a.html").stat().st_size < 5e6


@pytest.mark.parametrize("file", ["config.json", "result.json", "metrics.jsonl", "masks.jsonl",
                                  "provenance.json", "model/model.safetensors"])  # fmt: skip
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00{", b"[1]\n", b'{"step": "x"}\n'])
def test_damaged_files_are_said(root, tmp_path, file, content):
    run = tmp_path / "run"
    shutil.copytree(root / "one", run)
    (run / file).unlink()
    if content is not None:
        (run / file).write_bytes(content)
    text = write_report([run], tmp_path / "a.html").read_text(encoding="utf-8")
    notes = text.partition("Warnings and missing parts</caption>")[2].partition("</table>")[0]
    said = file.partition("/")[0].removesuffix(".json") in notes
    optional = file == "masks.jsonl" and not content
    empty = content == b'{"step": "x"}\n' and file.endswith(".json")  # an object, as it should be
    assert said or optional or empty or (file == "metrics.jsonl" and content == b"")


def test_one_of_several_processes_reads_no_checkpoint(root, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(root / "one", run)
    (run / "checkpoints").mkdir()
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr("mpjax.pages.reading.matrices.read_parts", None)
    text = write_report([run], tmp_path / "a.html").read_text(encoding="utf-8")
    assert "for them give: mpjax report RUN" in text


def test_hostile_text_is_escaped(tmp_path):
    run = planted.run(tmp_path / "<img src=x>", task="</script><script>alert(1)</script>")
    text = write_report([run], tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<img src=x>" not in text and "<script>alert(1)" not in text


def test_the_nearest_published_run_stands_beside_ours(tmp_path):
    planted.run(tmp_path / "run", 0.1, task="mnli")
    planted.run(tmp_path / "other", 0.1, task="mnli", score_optimizer="sensitivity")
    ours, other = (facts(run, []) for run in read_runs([tmp_path / "run", tmp_path / "other"]))
    assert ours.published.id.startswith("mnli-movement-local") and ours.remaining is not None
    group = ("mnli", "movement", "local", False)
    alike = [p for p in runs() if p.group == group]
    distances = [abs(p.remaining - 100 * ours.remaining) for p in alike]
    assert abs(ours.published.remaining - 100 * ours.remaining) == min(distances)
    assert other.published is None


def test_mistakes_are_one_sentence(root, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.html").write_text("mine")
    for words, said in (
        ([str(tmp_path / "empty")], "is no run of mpjax"),
        ([str(tmp_path / "none")], "is no folder"),
        ([str(root / "one"), "--output", str(tmp_path / "a.html")], "exists"),
        ([str(root / "one"), "--output", str(tmp_path / "a.txt")], ".html"),
    ):
        assert main(["report", *words]) == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "a.html").read_text() == "mine"


def test_without_the_extra(root, tmp_path, monkeypatch):
    monkeypatch.setattr("mpjax.pages.write.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mpjax\[report\]"):
        write_report([root / "one"], tmp_path / "a.html")
    assert write_after([root / "one"], tmp_path / "a.html") is None


def test_a_failure_after_a_run_is_a_warning(root, tmp_path, monkeypatch, caplog):
    target = tmp_path / "a.html"
    assert write_after([root / "one"], target) == target
    before = target.stat().st_mtime_ns
    assert write_after([root / "one"], target) == target and target.stat().st_mtime_ns == before
    monkeypatch.setattr("mpjax.pages.page.render", lambda runs: 1 / 0)
    assert write_after([root / "one"], tmp_path / "b.html") is None
    assert "no report was written: division by zero" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_a_browser_draws_the_plots(root, page, tmp_path):
    quiet = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", "--virtual-time-budget=30000", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run(
        [BROWSER, *quiet, f"--user-data-dir={tmp_path}", (root / "report.html").as_uri()],
        capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert 'data-ready="yes"' in done.stdout, done.stderr[-2000:]
    assert "document idle" in done.stderr
    assert not re.search(r"Uncaught|Refused to|violates|\[bokeh.*(could not|error)", done.stderr)


def test_a_dense_run_of_another_label_is_not_put_beside(tmp_path):
    common = {"task": "classification", "data": "/data/two.csv"}
    pruned = planted.run(tmp_path / "pruned", label="mood", **common)
    dense = planted.run(tmp_path / "dense", 1.0, method="dense", label="always", **common)
    ours, other = read_runs([pruned, dense])
    assert facts(ours, [ours, other]).dense is None
    other.config["label"] = "mood"
    assert facts(ours, [ours, other]).dense == planted.SCORE["accuracy"]
    assert density_asked(other) == 1.0
    other.config["fill_from"] = "/runs/hybrid"  # keeps that run's masks
    assert facts(ours, [ours, other]).dense is None and density_asked(other) is None
