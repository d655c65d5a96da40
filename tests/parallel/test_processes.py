"""Processes that train together: two of four devices are one of eight; none waits for the dead."""

import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

import mpjax
from mpjax.cli import main
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.parallel import consensus as agreement
from mpjax.parallel import processes
from mpjax.parallel.mesh import choose_mesh
from mpjax.parallel.peers import Link, Watch, call, receive
from mpjax.runs import checkpoints
from mpjax.runs.checkpoints import Checkpoints
from mpjax.runs.folder import read_lines
from mpjax.tasks.base import Encoded
from mpjax.tasks.batches import Batches, eval_batches
from mpjax.tasks.masking import MaskedBatches, MaskSettings
from mpjax.training.train import train

pytestmark = pytest.mark.slow

STEPS, BATCH = 12, 8
# Split so that every process holds a part of every matrix.
OPTIONS = {"mesh": "fsdp=8", "devices": None, "steps": STEPS, "batch_size": BATCH,
           "checkpoint_every": 2}  # fmt: skip

# The command line, writing down the rows it reads, and sending itself a signal at one of its reads.
PROGRAM = """
import os, sys
from mpjax import cli
from mpjax.tasks import batches
rows_file, at, number, *words = sys.argv[1:]
take, reads = batches.take, 0
def noted(encoded, rows, length):
    global reads
    reads += 1
    with open(rows_file, "a") as file:
        print(*rows, file=file)
    if reads == int(at):
        os.kill(os.getpid(), int(number))
    return take(encoded, rows, length)
batches.take = noted
sys.exit(cli.main(words))
"""
NOTHING = (0, 0)
IPV6 = "[::1]" if socket.has_dualstack_ipv6() else None  # what that says is true of this host


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def run_two(root, name, words, signals=(NOTHING, NOTHING), slurm=False, host="localhost"):
    """Runs a command in two processes of four devices; (status, stdout, stderr) of each.

    Args:
      name: of the session; the rows that process i reads are listed in the file NAME-i.
      signals: for each process, which of its reads it gets which signal at.
      slurm: be found out by what SLURM says, instead of being told. host: of the coordinator.
    """
    port = free_port()
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(mpjax.__file__).parents[1])])
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    env = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    running = []
    for i, (at, number) in enumerate(signals):
        told = ["--coordinator", f"{host}:{port}", "--processes", "2", "--process-id", str(i)]
        variables = {
            "SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
            "SLURM_PROCID": str(i), "SLURM_LOCALID": "0",
        }  # fmt: skip
        program = [sys.executable, "-c", PROGRAM, str(root / f"{name}-{i}"), str(at)]
        process = subprocess.Popen(
            [*program, str(int(number)), *words, *([] if slurm else told)],
            env=env | (variables if slurm else {}),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
    try:
        ends = [process.communicate(timeout=600) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, *end) for process, end in zip(running, ends, strict=True)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def alone(root):
    """Metrics of the run in one process of eight devices."""
    config = tiny.config(root, output=str(root / "alone"), **OPTIONS)
    train(config)
    return read_lines(Path(config.output) / "metrics.jsonl")


@pytest.fixture(scope="module")
def together(root, alone):
    """Run in two processes, stopped three times; the end of every session."""
    words = tiny.command(root, cache=str(root / "cache"), **OPTIONS)
    killed = run_two(root, "killed", words, (NOTHING, (5, signal.SIGKILL)))
    shutil.copytree(root / "run", root / "saved")
    asked = run_two(root, "asked", words, (NOTHING, (2, signal.SIGTERM)))
    return {
        "killed": killed,
        "asked": asked,
        "coordinator": run_two(
            root, "coordinator", words, ((1, signal.SIGKILL), NOTHING), host=IPV6 or "localhost"
        ),
        "finished": run_two(root, "finished", words, slurm=True),
    }


def assert_same(found, expected):
    assert len(found) == len(expected)
    for record, other in zip(found, expected, strict=True):
        assert record.keys() == other.keys()
        if "eval" in record:
            assert record == other
        for name in record.keys() - {"eval"}:
            np.testing.assert_allclose(record[name], other[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_two_processes_give_the_numbers_and_files_of_one(root, alone, together):
    (status, out, err), (status_1, out_1, err_1) = together["finished"]
    assert (status, status_1) == (0, 0), err + err_1
    assert_same(read_lines(root / "run" / "metrics.jsonl"), alone)
    result = json.loads(out[out.index("{") :])
    assert result == json.loads((root / "run" / "result.json").read_text())
    assert "{" not in out_1 and "mpjax:" not in err_1  # results and notes come once
    files = [
        sorted(str(p.relative_to(root / run)) for p in (root / run).rglob("*")
               if "checkpoints" not in p.parts and p.name not in ("report.html", "warnings.jsonl"))
        for run in ("run", "alone")
    ]  # fmt: skip
    assert files[0] == files[1]


@pytest.mark.slow
def test_each_process_reads_its_own_rows_only(root, together):
    def reads(session):
        files = [(root / f"{session}-{i}").read_text().splitlines() for i in range(2)]
        return [[[int(row) for row in line.split()] for line in lines] for lines in files]

    for parts in (*reads("killed"), *reads("finished")):
        assert {len(rows) for rows in parts} == {BATCH // 2}
    n = tiny.ROWS["train"]
    encoded = Encoded({"input_ids": np.zeros((n, 16), np.int32)}, np.full(n, 16))
    batches = Batches(encoded, BATCH, seed=0, lengths=())
    ours, theirs = reads("killed")  # from the first step on
    for step in range(3):
        assert ours[step] + theirs[step] == batches.rows(step).tolist()
    last = [rows for parts in reads("finished") for rows in parts[-2:]]  # of the evaluation
    assert sorted(row for rows in last for row in rows) == list(range(tiny.ROWS["dev"]))


@pytest.mark.parametrize(("session", "dead"), [("killed", 1), ("coordinator", 0)])
def test_a_killed_process_stops_the_other_with_a_message(session, dead, together):
    status, _, err = together[session][1 - dead]
    assert together[session][dead][0] == -signal.SIGKILL
    assert status not in (0, 2)
    assert f"mpjax: error: process {dead} was killed" in err
    assert "the same command on every host continues from the last checkpoint" in err


def test_all_stop_at_the_same_step_when_one_is_asked_to(root, together):
    for status, _, err in together["asked"]:
        assert status == 128 + signal.SIGTERM, err
    said = [err.partition("stopped at step ")[2].split()[0] for _, _, err in together["asked"]]
    assert said[0] == said[1]
    started = json.loads((root / "run" / "provenance.json").read_text())["sessions"]
    assert started[1]["from_step"] < started[2]["from_step"] == int(said[0]) < STEPS
    assert [s["hardware"]["processes"] for s in started] == [2] * 4


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["fsdp=2,tensor=2", "data=1"])
def test_a_run_of_two_processes_continues_in_one_with_fewer_devices(mesh, root, alone, together):
    saved = root / mesh
    shutil.copytree(root / "saved", saved)
    devices = 4 if "tensor" in mesh else 1
    options = OPTIONS | {"mesh": mesh, "devices": devices, "output": str(saved)}
    train(tiny.config(root, **options))
    assert_same(read_lines(saved / "metrics.jsonl"), alone)
    sessions = json.loads((saved / "provenance.json").read_text())["sessions"]
    assert sessions[1]["from_step"] >= 2


def test_a_part_of_a_batch_is_that_part_of_the_whole():
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 50, size=(24, 12)).astype(np.int32)
    arrays = {"input_ids": ids, "labels": np.full_like(ids, -100), "attention_mask": ids * 0 + 1}
    encoded = Encoded(arrays, rng.integers(3, 13, size=24))
    settings = MaskSettings(special_ids=(0,), mask_id=4, vocab_size=50, share=0.5)
    part = slice(3, 6)
    for batches in (Batches(encoded, 8, 1), MaskedBatches(encoded, 8, 1, settings)):
        whole, own = batches.batch(2), batches.batch(2, part)
        assert own.keys() == whole.keys()
        for name, array in own.items():
            np.testing.assert_array_equal(array, whole[name][part])
    assert (whole["labels"] != -100).any()
    pairs = zip(eval_batches(encoded, 8), eval_batches(encoded, 8, part=part), strict=True)
    for (whole, rows), (own, of_all) in pairs:
        np.testing.assert_array_equal(of_all, rows)
        np.testing.assert_array_equal(own["input_ids"], whole["input_ids"][part])


def meet(count, hellos, seconds=30.0):
    """Links or a refusal, for process 0 and then for each caller (number, count)."""
    found: list = [None] * (1 + len(hellos))

    def note(place, function, *args):
        try:
            found[place] = function(*args)
        except InputError as error:
            found[place] = error

    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        jobs = [(0, receive, server, count, seconds, {"port": 7})]
        jobs += [(i, call, "localhost", port, *pair, 30.0) for i, pair in enumerate(hellos, 1)]
        threads = [threading.Thread(target=note, args=job) for job in jobs]
        threads[0].start()
        socket.create_connection(("localhost", port)).close()  # a stranger
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join()
    return found


@pytest.mark.parametrize(
    ("count", "hellos", "message"),
    [
        (2, [(1, 3)], r"process 1 was started with --processes 3, process 0 with --processes 2"),
        (3, [(1, 3), (1, 3)], r"two processes were started with --process-id 1\."),
        (4, [(2, 4)], r"of 4 processes these have not come within 1 s: 1, 3\."),
    ],
)
def test_processes_that_do_not_fit_are_refused_in_all_of_them(count, hellos, message):
    found = meet(count, hellos, 1.0 if "within" in message else 30.0)
    for error in found:
        assert isinstance(error, InputError) and re.search(message, str(error)), error


@pytest.mark.parametrize("why", [None, "no space left"])
def test_the_end_of_one_process_reaches_all_others(why):
    links, (one, told), (two, _) = meet(3, [(1, 3), (2, 3)])
    assert told == {"port": 7}
    heard = queue.Queue()
    watches = [Watch(0, links, heard.put), Watch(2, {0: two}, heard.put)]
    failing = Watch(1, {0: one}, lambda message: None)
    if why:
        failing.fail(why)
    else:
        one.break_off()
    messages = {heard.get(timeout=60), heard.get(timeout=60)}
    said = f"process 1 has stopped: {why}" if why else "process 1 was killed"
    assert len(messages) == 1 and said in messages.pop()
    for link in (*links.values(), one, two):
        link.break_off()
    for watch in (*watches, failing):
        watch.leave()


def test_a_watch_ends_when_all_have_come_to_its_end():
    links, (one, _), (two, _) = meet(3, [(1, 3), (2, 3)])
    heard = queue.Queue()
    watches = [Watch(i, own, heard.put) for i, own in enumerate((links, {0: one}, {0: two}))]
    leaving = [threading.Thread(target=watch.leave) for watch in watches]
    for thread in leaving[1:]:
        thread.start()
    leaving[1].join(timeout=0.3)
    assert leaving[1].is_alive()  # it would notice a failure of process 0
    leaving[0].start()
    for thread in leaving:
        thread.join(timeout=60)
    assert heard.empty() and not any(thread.is_alive() for thread in leaving)


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_nobody_at_the_address_is_said(host, monkeypatch, caplog):
    address = f"{host}:{free_port()}"
    monkeypatch.setattr(processes, "JOIN_SECONDS", 0.1)
    message = re.escape(f"process 0 does not answer at {address} ")
    with caplog.at_level("INFO"), pytest.raises(InputError, match=message):
        processes.joined(address, 2, 1).__enter__()
    assert f"process 1 of 2 calls process 0 at {address}" in caplog.text


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (InputError("?"), 2), (OSError("disk"), 1)]
)
def test_a_process_that_fails_ends_with_the_status_of_its_error(error, status, monkeypatch):
    told, at_exit = [], []
    watch = types.SimpleNamespace(fail=told.append)
    monkeypatch.setattr(processes, "_join", lambda *args: watch)
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(processes.atexit, "register", lambda *call: at_exit.append(call))
    with pytest.raises(type(error)), processes.joined("localhost:1", 2, 0):
        raise error
    assert told == [str(error) or "KeyboardInterrupt"]
    assert [call[1:] for call in at_exit] == [(status,)]


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="Linux has it")
def test_a_host_without_power_is_noticed():
    with socket.create_server(("localhost", 0)) as server:
        connection = socket.create_connection(server.getsockname())
        link = Link(connection)
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE)] + [
            (socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}"))
            for name in ("IDLE", "INTVL", "CNT")
        ]
        alive, idle, interval, count = (connection.getsockopt(*option) for option in options)
        link.close()
    assert alive and idle + interval * count <= 60


def test_a_port_in_use_is_said():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at port {port}.*choose another"):
            processes.joined(f"localhost:{port}", 2, 0).__enter__()


def test_what_differs_from_process_0_is_named(monkeypatch):
    texts = [json.dumps({"seed": 0, "model": "m"}), json.dumps({"seed": 1, "model": "m"})]
    monkeypatch.setattr(agreement, "exchange", lambda text: [texts[0], texts[0], texts[1]])
    with pytest.raises(InputError, match=r"process 2 differs from process 0: seed 1, not 0\. Give"):
        agreement.check_same({})
    monkeypatch.setattr(agreement, "exchange", lambda text: [texts[1]] * 2)
    agreement.check_same({})


def test_what_process_0_has_written_and_another_does_not_see_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "_LATE_SECONDS", 0.0)
    path = tmp_path / "config.json"
    with pytest.raises(InputError, match=f"not see config.json, .* {tmp_path}; .* hosts share"):
        agreement.check_visible(path.name, tmp_path, path.is_file)
    path.write_text("")
    agreement.check_visible(path.name, tmp_path, path.is_file)


def test_a_checkpoint_that_one_process_does_not_see_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "_LATE_SECONDS", 0.0)
    for step in (7, 8):
        (tmp_path / str(step)).mkdir()
    (tmp_path / "7" / "record.json").write_text("{}")
    monkeypatch.setattr(checkpoints, "from_first", lambda make: 8)
    with (
        Checkpoints(tmp_path) as late,
        pytest.raises(InputError, match="does not see checkpoint 8"),
    ):
        late.latest()
    monkeypatch.setattr(checkpoints, "from_first", lambda make: 7)
    with Checkpoints(tmp_path) as there:
        assert there.latest() == 7


def test_a_plugin_that_computes_at_import_is_said(monkeypatch):
    def initialize(**options):
        raise RuntimeError("jax.distributed.initialize() must be called before any JAX calls")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(InputError, match="before the processes were joined, as a module of --plu"):
        processes._initialize()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--coordinator", "a:1"], "--processes and --process-id missing: .* go together"),
        (["--process-id", "0"], "--coordinator and --processes missing"),
        (["--coordinator", "a", "--processes", "2", "--process-id", "0"], "'a'; give HOST:PORT"),
        (["--coordinator", "a:0", "--processes", "2", "--process-id", "0"], "'a:0'; give HOST"),
        (["--coordinator", "a:1", "--processes", "0", "--process-id", "0"], "it must be at least"),
        (["--coordinator", "a:1", "--processes", "2", "--process-id", "2"], "must be from 0 to 1"),
    ],
)
def test_mistakes_in_the_options_are_refused(words, message, root, capsys):
    assert main([*tiny.command(root), *words]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2"}, "slurm"),
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_NTASKS": "1"}, None),
        ({"SLURM_NTASKS": "2"}, None),  # a batch script, before srun
        # An interactive step of an allocation of several tasks.
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "2"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": ""}, "gketpu"),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a", "JAX_PLATFORMS": "tpu,cpu"}, None),
    ],
)
def test_a_scheduler_that_has_started_several_is_noticed(variables, kind, monkeypatch, capsys):
    for name in ("SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS",
                 "TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes.detected() == kind
    words = ["--model", "m", "--task", "sst2", "--output", "o", "--density", "0.1"]
    assert main(["sweep", *words, "--method", "movement"]) == 2
    assert ("mpjax sweep runs in one process" in capsys.readouterr().err) == (kind is not None)


class Device:
    """Stands for a device of some process."""

    def __init__(self, number, process):
        self.id, self.process_index = number, process


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 4}, "--devices is 4, but 2 processes use all of their 8 devices"),
        ({"batch_size": 12}, "12 does not split over the 8 devices of all processes; .* 8 as"),
        ({"mesh": "data=2,tensor=3", "batch_size": 12}, "tensor=3 .* 4 devices of a process"),
        ({"mesh": "data=2"}, "mesh of 2 devices, but there are 8; .* product is 8$"),
    ],
)
@pytest.mark.parametrize("planned", [False, True])
def test_a_mesh_that_does_not_go_into_the_processes_is_refused(
    options, message, planned, monkeypatch
):
    # In an order in which those of a process are apart, as on a TPU slice.
    devices = [Device(i, i % 2) for i in range(8)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    found = devices if planned else None
    base = {"model": "m", "task": "sst2", "output": "o", "method": "dense", "batch_size": 16}
    with pytest.raises(InputError, match=message):
        choose_mesh(TrainConfig(**(base | options)), found)
    mesh = choose_mesh(TrainConfig(**base), found)
    assert [device.process_index for device in mesh.devices.flat] == [0] * 4 + [1] * 4
