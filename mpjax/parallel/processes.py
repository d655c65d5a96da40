"""Joining several processes into one run: one per TPU host, per SLURM task, or as started by hand.

All of them see the same run folder; process 0 writes to it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from mpjax.config.checks import option
from mpjax.errors import InputError, Interrupted
from mpjax.log import log
from mpjax.parallel.consensus import exchange, first
from mpjax.parallel.peers import Watch, address, call, receive

JOIN_SECONDS = 300.0  # for the last process to be started, perhaps by hand
_WATCH_SECONDS = 30.0  # for connections between processes that jax has already joined


@contextlib.contextmanager
def joined(
    coordinator: str | None = None, processes: int | None = None, process_id: int | None = None
) -> Iterator[None]:
    """Joins this process to the others of its run for the duration of the context.

    Must be entered before jax computes anything. Without arguments, SLURM or the TPU slice say
    which processes belong together; without either the process runs alone.

    Args:
      coordinator: HOST:PORT where process 0 listens.
      processes: total number of processes.
      process_id: index of this process, from 0.

    Raises:
      InputError: only some of the three arguments, or processes that do not connect.
    """
    given = {"coordinator": coordinator, "processes": processes, "process_id": process_id}
    if all(value is None for value in given.values()):
        watch = _join_cluster()
    else:
        watch = _join(*check_address(given))
    if watch is None:
        yield
        return
    if not first():
        log.setLevel(logging.ERROR)  # notes are printed by process 0 only
    try:
        yield
    except Interrupted:
        watch.leave()
        raise
    except BaseException as error:
        time.sleep(1.0)  # if this error follows from another process, the watch reports that one
        watch.fail(str(error) or type(error).__name__)
        atexit.register(_leave, _status(error))
        raise
    watch.leave()


def check_address(given: Mapping[str, Any]) -> tuple[str, int, int, int]:
    """Host, port, number of processes and index of this one.

    >>> check_address({"coordinator": "node0:1234", "processes": 2, "process_id": 1})
    ('node0', 1234, 2, 1)
    """
    missing = [option(name) for name, value in given.items() if value is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} missing: --coordinator, --processes and --process-id go "
            "together"
        )
    place, count, number = given.values()
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"--coordinator is {place!r}; give HOST:PORT, where process 0 runs and a port that "
            "is free there"
        )
    if count < 1:
        raise InputError(f"--processes is {count}; it must be at least 1")
    if not 0 <= number < count:
        raise InputError(
            f"--process-id is {number}; of {count} processes it must be from 0 to {count - 1}"
        )
    return host.strip("[]"), int(port), count, number


def _join(host: str, port: int, count: int, number: int) -> Watch:
    does = "waits for the others" if number == 0 else "calls process 0"
    log.info("process %d of %d %s at %s", number, count, does, address(host, port))
    if number == 0:
        with _listen(port) as server:
            service = _free_port()
            links = receive(server, count, JOIN_SECONDS, {"port": service})
    else:
        link, told = call(host, port, number, count, JOIN_SECONDS)
        links, service = {0: link}, told["port"]
    watch = Watch(number, links)
    _initialize(
        coordinator_address=address(host, service),
        num_processes=count,
        process_id=number,
        cluster_detection_method="deactivate",  # all is known
    )
    return watch


def _join_cluster() -> Watch | None:
    """Joins the processes that a scheduler has started; None for a single process."""
    cluster = detected()
    if cluster is None:
        return None
    try:
        _initialize(cluster_detection_method=cluster)
    except ValueError:  # a TPU that is not part of a slice
        return None
    count, number = jax.process_count(), jax.process_index()
    if count == 1:
        return None
    with _listen(0) as server:
        host, port = json.loads(exchange(json.dumps([_own_address(), server.getsockname()[1]]))[0])
        try:
            if number == 0:
                return Watch(0, receive(server, count, _WATCH_SECONDS, {}))
            return Watch(number, {0: call(host, port, number, count, _WATCH_SECONDS)[0]})
        except InputError as error:
            log.warning("a process that stops will be noticed after minutes: %s", error)
            return Watch(number, {})


def detected() -> str | None:
    """jax's name of the cluster that started this process together with others, or None."""
    here = os.environ
    tasks = here.get("SLURM_STEP_NUM_TASKS") or here.get("SLURM_NTASKS", "1")  # of the step first
    if "SLURM_STEP_NODELIST" in here and int(tasks) > 1:
        return "slurm"
    if (here.get("JAX_PLATFORMS") or "tpu").partition(",")[0] != "tpu":
        return None
    hosts = here.get("TPU_PROCESS_ADDRESSES") or here.get("TPU_WORKER_HOSTNAMES")
    if hosts:
        return "gketpu" if "," in hosts else None
    chips = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return "gcetpu" if chips and importlib.util.find_spec("libtpu") else None


def refuse(command: str) -> None:
    """Raises `InputError` for a single-process command that was started in several processes."""
    if detected() in ("slurm", "gketpu"):
        raise InputError(
            f"mpjax {command} runs in one process, but several have been started; start one "
            "(SLURM: srun --ntasks=1), or use mpjax train"
        )


def _initialize(**options: Any) -> None:
    # jax would take SIGTERM for itself; the loop stops all processes its own way.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**options)
    except RuntimeError as error:
        if "before any JAX" not in str(error):
            raise
        raise InputError(
            "jax has computed before the processes were joined, as a module of --plugin does that "
            "makes arrays when it is imported; make them in a function"
        ) from error


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InputError(
            f"--coordinator: process 0 cannot listen at port {port} ({error.strerror}); choose "
            "another one"
        ) from error


def _free_port() -> int:
    with _listen(0) as server:
        return server.getsockname()[1]


def _own_address() -> str:
    """Address of this host on its network; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation, used by no host
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _status(error: BaseException) -> int:
    """Exit status of the command for an error."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return 2 if isinstance(error, InputError) else 1


def _leave(status: int) -> None:
    """Ends the process without waiting for the others, which end by themselves."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
