"""Files are written whole or not at all, and whatever a disk refuses is one sentence."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpjax import cli
from mpjax.disk import free_bytes, writing
from mpjax.errors import InputError
from mpjax.files import write_atomically, write_json, write_text

NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
           errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOSYS]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_any_refusal_is_one_sentence_and_the_old_file_stays(number, tmp_path):
    def fail(file):
        file.write(b"half")
        raise OSError(number, os.strerror(number), "temporary name")

    write_text(tmp_path / "kept", "old")
    with pytest.raises(InputError) as caught:
        write_atomically(tmp_path / "kept", fail)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'kept'} cannot be written: ")
    assert "temporary" not in message and "\n" not in message and "; " in message
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("kept", "old")]


def test_a_full_disk_is_named_with_bytes_needed_and_free(tmp_path):
    said = r"is full \(12,345 bytes are needed, [\d,]+ bytes are free\)"
    with pytest.raises(InputError, match=said), writing(tmp_path / "not" / "there", 12_345):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert free_bytes(tmp_path / "not" / "there") == free_bytes(tmp_path)


def test_full_for_real():
    device = Path("/dev/full")
    said = "/dev/full cannot be written: the disk is full"
    with pytest.raises(InputError, match=said), writing(device), device.open("wb") as file:
        file.write(b"x" * 100_000)


def test_a_name_that_is_too_long_and_a_file_in_the_way(tmp_path):
    with pytest.raises(InputError, match="the name is too long; choose a shorter one"):
        write_json(tmp_path / ("n" * 300), {})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a part of its path is a file"):
        write_json(tmp_path / "file" / "below" / "name", {})
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="link"):
        write_json(tmp_path / "link" / "name", {})


def test_an_error_that_reaches_the_command_line_is_one_sentence(monkeypatch, capsys, tmp_path):
    def fail(args):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "somewhere"))

    monkeypatch.setattr(cli.COMMANDS["recipes"], "run", fail)
    assert cli.main(["recipes"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"mpjax: error: {tmp_path / 'somewhere'} cannot be used: the file system is read-only; "
        "choose a place that can be written"
    ]


@pytest.mark.parametrize("early", [["-u"], []], ids=["print", "flush"])
def test_results_for_a_full_disk(early):
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, *early, "-m", "mpjax", "--version"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "mpjax: error: output cannot be written: No space left on device\n"
