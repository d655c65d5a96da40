"""Plugins: the page's example from training to export, and every way in which one can be wrong."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

import mpjax
from mpjax import plugins, tasks
from mpjax.cli.main import main
from mpjax.config.resolve import config_rule, resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.models import structure
from mpjax.pruning import RULES
from mpjax.pruning.granularities import Block, NofM
from mpjax.tasks import cache
from mpjax.tasks.seeds import Dice

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
MODULE = "my_package.my_module"
POINTS = "[mpjax.plugins]\nmine = my_package.my_module\n"


@pytest.fixture(autouse=True)
def site(tmp_path, monkeypatch):
    """A folder for packages; whatever they register is forgotten after the test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(plugins, "_REGISTRY", plugins._Registry())
    registered = [RULES, tasks._REGISTERED, structure._REGISTERED]
    before, modules = [dict(names) for names in registered], set(sys.modules)
    yield folder
    for names, old in zip(registered, before, strict=True):
        names.clear()
        names.update(old)
    own = {path.stem for path in folder.iterdir()}
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in own:
            del sys.modules[name]


def write(site: Path, code: str, module: str = MODULE) -> str:
    path = site.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    return module


def page(language: str) -> str:
    [block] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return block


def install(site: Path, points: str = POINTS, name: str = "mine") -> None:
    """A package as pip leaves it: metadata beside the module."""
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(points)


def a_rule(name: str) -> str:
    return (
        "import mpjax\n\n\nclass Mine(mpjax.Rule):\n"
        f"    name = {name!r}\n\n    def masks(self, *args):\n        return {{}}\n"
    )


def lines(folder: Path) -> Path:
    folder.mkdir()
    for split, count in (("train", 40), ("dev", 16)):
        rows = [tiny.demo.sentiment(Dice(len(split), 0, i)) for i in range(count)]
        text = [f"{('bad', 'good')[row['label']]} {row['sentence']}" for row in rows]
        (folder / f"{split}.txt").write_text("\n".join(text) + "\n")
    return folder


def config(**changes) -> TrainConfig:
    given = {"model": "m", "task": "sst2", "output": "o", "method": "movement", "density": 0.1}
    return resolve(TrainConfig(**(given | changes)))


@pytest.mark.slow
@pytest.mark.parametrize("installed", [False, True])
def test_the_example_of_the_page_trains_continues_evaluates_and_exports(
    installed, site, tmp_path, capsys
):
    write(site, page("python"))
    given = ["--plugin", MODULE]
    if installed:
        install(site)
        given = []
    changes = {
        "method": "sized_movement",
        "rule_option": "alpha=0.5",
        "structure": "pairs",
        "task": "lines",
        "data": str(lines(tmp_path / "lines")),
        "checkpoint_every": 3,
        "keep": 2,
    }
    words = [*tiny.command(tmp_path, **changes), *given]
    assert main(words) == 0
    result, run = json.loads(capsys.readouterr().out), tmp_path / "run"
    assert result["linear_density"] == pytest.approx(0.3, abs=0.01)
    recorded = json.loads((run / "config.json").read_text())
    assert (recorded["plugin"], recorded["rule_option"]) == (MODULE, "alpha=0.5")
    model = (run / "model" / "model.safetensors").read_bytes()
    for folder in ("model", "checkpoints/6"):
        shutil.rmtree(run / folder)
    (run / "result.json").unlink()
    assert main(words) == 0
    capsys.readouterr()
    assert (run / "model" / "model.safetensors").read_bytes() == model
    assert main(["evaluate", "--model", str(run), "--cache", "none", *given]) == 0
    assert json.loads(capsys.readouterr().out)["score"] == result["score"]
    assert main(["export", str(run), "--output", str(tmp_path / "exported")]) == 0
    exported = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert exported["id2label"] == {"0": "bad", "1": "good"}


def test_a_rule_gets_its_options_and_its_shapes(site):
    write(site, page("python"))
    made = config(
        plugin=MODULE, method="sized_movement", rule_option="alpha=0.5", structure="ffn=pairs"
    )
    rule = config_rule(made)
    assert rule is not None and rule.alpha == 0.5 and made.plugin == MODULE
    parts = structure.parse_structure("attention=rows,ffn=pairs", head_size=8).parts
    assert [part.granularity for part in parts] == [Block(1, None), Block(2, 1)]
    assert {"lines"} <= set(tasks.names()) and "SizedMovement" in str(mpjax.RULES)


def test_an_installed_plugin_is_found_by_its_names_and_recorded(site):
    write(site, page("python"))
    install(site)
    assert config().plugin is None
    assert MODULE not in sys.modules  # our names need none
    assert config(method="sized_movement").plugin == MODULE
    assert config(task="lines", method="dense", density=None).plugin == MODULE
    assert config(structure="attention=pairs").plugin == MODULE


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, f"--plugin {MODULE}: there is no module my_package; install it, or put"),
        ("import json", f"plugin {MODULE} registers nothing; it should define a Rule with a name"),
        ("1 / 0", "fails on import: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "fails on import: SystemExit: 3"),
        ("def f(:", "fails on import: SyntaxError"),
        ("import not_there", "fails on import: ModuleNotFoundError: No module named 'not_there'"),
        (a_rule("movement"), f"a rule called movement is registered by mpjax and by {MODULE}"),
        (a_rule("dense"), f"a rule called dense is registered by mpjax and by {MODULE}"),
        (a_rule("my rule"), f"{MODULE} registers a rule called 'my rule'; a name has letters"),
        (
            "import mpjax\nfrom mpjax.tasks.glue.task import GlueTask\n"
            "mpjax.register_task(GlueTask('sst2', 'classification', ('a', 'b'), folder='x'))",
            f"a task called sst2 is registered by mpjax and by {MODULE}",
        ),
        (
            "import mpjax\nmpjax.register_structure('heads', None)",
            f"a structure called heads is registered by mpjax and by {MODULE}",
        ),
    ],
)
def test_a_plugin_that_is_wrong_ends_in_a_sentence(code, message, site):
    if code is not None:
        write(site, code)
    with pytest.raises(InputError, match=re.escape(message)):
        config(plugin=MODULE)


@pytest.mark.parametrize("name", ["../there", "my package", "a/b.py", "json"])
def test_what_is_no_plugin_is_refused(name):
    with pytest.raises(InputError, match=r"give the name of an importable module|registers noth"):
        config(plugin=name)


def test_plugins_do_not_take_each_others_names(site):
    write(site, a_rule("mine"), "one")
    write(site, a_rule("mine"), "two")
    with pytest.raises(InputError, match="rule called mine is registered by one and by two"):
        config(plugin="one,two", method="mine")


def test_a_module_that_is_imported_already_is_a_plugin_all_the_same(site):
    write(site, a_rule("mine"), "one")
    __import__("one")
    assert config(plugin="one", method="mine").plugin == "one"


@pytest.mark.parametrize(
    ("field", "known"), [("method", "choose from l0, magnitude, "), ("task", "choose from ")]
)
def test_an_unknown_name_lists_ours_and_those_of_plugins(field, known, site):
    write(site, page("python"))
    with pytest.raises(InputError) as caught:
        config(plugin=MODULE, **{field: "nothing"})
    text = str(caught.value)
    assert f"--{field} is 'nothing'; {known}" in text and "give --plugin with its module" in text
    assert ("sized_movement" if field == "method" else "lines") in text


def test_an_installed_plugin_that_is_broken_is_named_and_passed_over(site, caplog):
    write(site, "1 / 0", "aaa_broken")
    write(site, page("python"))
    install(site, "[mpjax.plugins]\nbroken = aaa_broken\n", "broken")
    install(site)
    assert config(method="sized_movement").plugin == MODULE
    assert "plugin aaa_broken of broken fails on import: ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("beta=1", "--rule-option beta=1: give each NAME=VALUE once; sized_movement has alpha"),
        ("alpha", "--rule-option alpha: give each NAME=VALUE once"),
        ("alpha=1,alpha=2", "--rule-option alpha=2: give each NAME=VALUE once; alpha is there"),
        ("alpha=much", "--rule-option alpha is 'much'; give a value like 0.1"),
        ("final=0.3", "--rule-option final=0.3: give each NAME=VALUE once; sized_movement has"),
    ],
)
def test_a_wrong_option_of_a_rule_ends_in_a_sentence(option, message, site):
    write(site, page("python"))
    with pytest.raises(InputError, match=re.escape(message)):
        config(plugin=MODULE, method="sized_movement", rule_option=option)


def test_options_of_a_rule_do_not_apply_to_rules_without_any():
    with pytest.raises(InputError, match="--rule-option does not apply to movement"):
        config(rule_option="alpha=1")
    with pytest.raises(InputError, match="--rule-option does not apply to dense"):
        config(method="dense", density=None, rule_option="alpha=1")


def test_encoded_data_of_a_plugin_are_not_kept(site, tmp_path):
    write(site, page("python"))
    plugins.load(MODULE)
    task = tasks.get("lines")
    rows, words = task.read(lines(tmp_path / "lines"), "dev"), tiny.demo.tokenizer()
    encoded = cache.encode(task, rows, words, 16, tmp_path / "cache")
    assert len(encoded) == 16 and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("made", [NofM(2, 4), None])
def test_a_structure_that_is_none_is_refused(made):
    mpjax.register_structure("odd", lambda head_size: made)
    with pytest.raises(InputError, match=r"--structure odd of a plugin makes (an N:M|no Gran)"):
        config(structure="odd")


def test_a_run_of_somebody_else_imports_nothing(site, tmp_path):
    """Its folder names a plugin that can be imported: only the user may ask for that."""
    write(site, page("python"))
    run = tmp_path / "run"
    run.mkdir()
    named = {"task": "lines", "max_length": 16, "plugin": MODULE, "derived": {}}
    (run / "config.json").write_text(json.dumps(named))
    from mpjax.config.evaluate import EvaluateConfig
    from mpjax.training.evaluate import evaluate

    with pytest.raises(InputError, match=rf"imports nothing .* give --plugin {MODULE} if you tru"):
        evaluate(EvaluateConfig(str(run)))
    assert MODULE not in sys.modules
    write(site, page("python"), "other")
    with pytest.raises(InputError, match=rf"was of the plugin {MODULE}, and here it is of other"):
        evaluate(EvaluateConfig(str(run), plugin="other"))
    with pytest.raises(InputError, match="is not finished"):  # past the check
        evaluate(EvaluateConfig(str(run), plugin="other", task="lines"))


def test_plugins_given_twice_are_both_imported(site, capsys):
    write(site, a_rule("first"), "one")
    write(site, a_rule("second"), "two")
    words = ["train", "--plugin", "one", "--plugin", "two", "--method", "nothing", "--model", "m"]
    assert main([*words, "--task", "sst2", "--output", "o"]) == 2
    assert "dense, first, second; for a rule" in capsys.readouterr().err


@pytest.mark.slow
def test_the_help_imports_no_plugin(site, tmp_path):
    write(site, "raise SystemExit('imported')")
    install(site)
    words = [sys.executable, "-m", "mpjax", "train", "--help"]
    environment = {"PYTHONPATH": f"{site}:{Path(mpjax.__file__).parents[1]}", "PATH": "/usr/bin"}
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert "--plugin" in told.stdout and "{l0,magnitude,movement," in told.stdout
