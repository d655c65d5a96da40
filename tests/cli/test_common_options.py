"""Parts of all commands: topics of the help, talk on stderr, exit codes, shells, next steps."""

import dataclasses
import json
import logging
import re
import shutil
import subprocess
import sys
import time

import pytest
import tiny

from mpjax import cli
from mpjax.cli.completion import SHELLS
from mpjax.config.checks import option
from mpjax.config.train import FIRST, TOPICS, TrainConfig
from mpjax.runs import progress

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A pruned run and a dense one beside it."""
    root = tmp_path_factory.mktemp("common")
    dense = {"method": "dense", "density": None, "output": str(root / "fine")}
    assert cli.main(tiny.command(root, **dense)) == 0
    assert cli.main(tiny.command(root)) == 0
    return root


def sections(text: str) -> dict[str, str]:
    """Help by its topics."""
    found: dict[str, str] = {}
    for block in text.split("\n\n"):
        head, _, body = block.partition("\n")
        if head.endswith(":"):
            found[head[:-1]] = body
    return found


def test_every_option_of_train_stands_under_its_topic_and_the_first_are_few():
    found = sections(cli.build_parser()[1]["train"].format_help())
    assert [name for name in found if name in TOPICS] == list(TOPICS)
    assert set(found) == {"options", *TOPICS, "every command", "example"}
    places = {
        flag: topic
        for topic in TOPICS
        for flag in re.findall(r"^  (--[a-z-]+)", found[topic], re.MULTILINE)
    }
    for field in dataclasses.fields(TrainConfig):
        assert places[option(field.name)] == field.metadata["topic"]
    assert list(places.values()).count(FIRST) <= 6


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_is_one_page_of_usage_and_fits(command):
    text = cli.build_parser()[1][command].format_help()
    assert text.splitlines()[0].startswith(f"usage: mpjax {command}")
    assert text.splitlines()[0].endswith("[OPTION ...]")
    assert "--no-" not in text.replace("--no-X", "")  # hidden
    for flag in ("--config", "--quiet", "--verbose"):
        assert flag in text


def test_numbers_have_units():
    text = cli.build_parser()[1]["train"].format_help()
    for words in ("--batch-size ROWS", "--max-length TOKENS", "--steps STEPS", "--density SHARE"):
        assert words in text


@pytest.mark.slow
@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"]])
def test_help_takes_less_than_a_second(argv):
    times = []
    for _ in range(3):  # of a busy machine the best
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mpjax", *argv], capture_output=True, check=True,
                       env=tiny.environment())  # fmt: skip
        times.append(time.perf_counter() - start)
    assert min(times) < 1


def test_the_exit_codes_are_those_of_the_help(monkeypatch, capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for code in ("\n  0 ", "\n  1 ", "\n  2 ", "\n  130 143 "):
        assert code in text
    assert cli.main(["inspect", "/not/here"]) == 2

    def stop(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.COMMANDS["recipes"], "run", stop)
    assert cli.main(["recipes"]) == 130
    capsys.readouterr()


def test_quiet_says_warnings_only_and_verbose_more(root, capsys):
    words = ["inspect", str(root / "run")]
    assert cli.main(words) == 0
    plain = capsys.readouterr()
    assert cli.main([*words, "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert cli.main([*words, "--verbose"]) == 0
    loud = capsys.readouterr()
    assert plain.out == quiet.out == loud.out and quiet.err == ""
    assert plain.err.startswith("mpjax: evaluate:")
    assert re.match(r"\d\d:\d\d:\d\d mpjax: evaluate:", loud.err)
    finished = tiny.command(root)
    assert cli.main([*finished, "--quiet"]) == 0
    assert capsys.readouterr().err == f"mpjax: {root / 'run'} is finished; nothing to train\n"
    assert cli.main([*words, "--quiet", "--verbose"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_verbose_says_where_an_error_comes_from(capsys):
    assert cli.main(["inspect", "/not/here"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert cli.main(["inspect", "/not/here", "--verbose"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and said.splitlines()[-1].startswith("mpjax: error: ")
    assert logging.getLogger("mpjax").handlers == []


def test_a_progress_bar_is_off_where_notes_are(monkeypatch):
    logger, make, drawn = logging.getLogger("mpjax"), progress._make_bar, []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    def noted(*arguments):
        bar = make(*arguments)
        drawn.append(bool(bar.disable))  # closing turns it off
        return bar

    monkeypatch.setattr(progress, "_make_bar", noted)
    for level in (logging.INFO, logging.WARNING):
        logger.setLevel(level)
        assert list(progress.bar([1], 1, "x")) == [1]
    logger.setLevel(logging.NOTSET)
    assert drawn == [False, True]


def test_train_ends_with_its_score_beside_dense_and_with_commands_that_work(root, capsys):
    assert cli.main(tiny.command(root)) == 0
    captured = capsys.readouterr()
    run = str(root / "run")
    dense = json.loads((root / "fine" / "result.json").read_text())["score"]["accuracy"]
    assert json.loads(captured.out)["method"] == "movement"
    assert f"dense {dense:.1f} (fine)" in captured.err and f"result:       {run}" in captured.err
    commands = [line.partition(":  ")[2].strip() for line in captured.err.splitlines()]
    for command in (line for line in commands if line.startswith("mpjax ")):
        cli.parse(command.split()[1:])  # its words are right
    assert f"mpjax inspect {run}" in commands


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export {run} --output {out}", "mpjax push {out} OWNER/NAME"),
        ("export {run} --output {out}", "{out}/README.md"),
        (
            "pack {run} --output {out}.mpz",
            "mpjax evaluate --model {out}.mpz --task TASK --data DATA",
        ),
        ("inspect {run}", "mpjax evaluate --model {run}\n"),
        ("shrink {run} --output {out}", "mpjax inspect {out}"),
        ("recipes", "mpjax train --recipe NAME"),
    ],
)
def test_other_commands_say_what_next(words, said, root, tmp_path, capsys):
    names = {"run": root / "run", "out": tmp_path / "o"}
    assert cli.main(words.format(**names).split()) == 0
    assert said.format(**names) in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_and_options(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("quickstart", "density", "config", "overwrite"):
        assert word in script
    assert "no-remat" not in script
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_proposes_what_was_begun(capsys, tmp_path):
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "c").write_text(capsys.readouterr().out)
    ask = (
        f"source {tmp_path}/c\nCOMP_WORDS=(mpjax train --dens)\nCOMP_CWORD=2\n"
        "COMP_LINE='mpjax train --dens'\nCOMP_POINT=${#COMP_LINE}\n"
        "$(complete -p mpjax | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", ask], text=True, capture_output=True, check=True)
    assert "--density" in done.stdout.split()


def test_an_unknown_shell_is_refused(capsys):
    assert cli.main(["completion", "csh"]) == 2
    assert "fish" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_fish_proposes_what_was_begun(capsys, tmp_path):
    assert cli.main(["completion", "fish"]) == 0
    (tmp_path / "mpjax.fish").write_text(capsys.readouterr().out)
    ask = f'source {tmp_path}/mpjax.fish; complete -C "mpjax train --dens"; complete -C "mpjax shr"'
    done = subprocess.run(["fish", "-N", "-c", ask], text=True, capture_output=True, check=True)
    assert {"--density", "shrink"} <= {line.split("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_takes_the_script_as_the_completion_of_mpjax(capsys, tmp_path):
    assert cli.main(["completion", "zsh"]) == 0
    (tmp_path / "_mpjax").write_text(capsys.readouterr().out)
    ask = (
        f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; "
        "print $_comps[mpjax]; autoload +X $_comps[mpjax]"
    )
    subprocess.run(["zsh", "-n", str(tmp_path / "_mpjax")], check=True)
    done = subprocess.run(["zsh", "-f", "-c", ask], text=True, capture_output=True, check=True)
    assert done.stdout.startswith("_") and not done.stderr
