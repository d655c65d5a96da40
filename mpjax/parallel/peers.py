"""Connections between processes: meeting at the start, and stopping when one of them stops.

Process 0 listens; every other process keeps a connection to it. A process that is killed or fails
breaks its connection: process 0 then stops, and with it the others, which would otherwise wait in a
collective for ever. The connections carry lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from mpjax.errors import InputError

Line = Mapping[str, Any]
# A host without power or network closes no connection: it is probed after 20 s of silence and given
# up 30 s later (macOS has no TCP_KEEPIDLE and probes after hours).
_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}
HOW = "Start the same command on every host, each with its own --process-id"


def address(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an IPv6 address.

    >>> address("node0", 99), address("::1", 99)
    ('node0:99', '[::1]:99')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Link:
    """A connection that carries lines of JSON both ways."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._connection = connection
        self._lines: TextIO = connection.makefile("r", encoding="utf-8")

    def send(self, line: Line) -> None:
        """Sends a line; does nothing if the other end has gone."""
        with contextlib.suppress(OSError):
            self._connection.sendall((json.dumps(line) + "\n").encode())

    def read(self, seconds: float | None = None) -> Any:
        """Next line; None if it is not JSON, or the other end has gone or is silent."""
        try:
            self._connection.settimeout(seconds)
            return json.loads(self._lines.readline())
        except (OSError, ValueError):
            return None

    def break_off(self) -> None:
        """Shuts the connection down for both ends, as the end of this process would."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection; no thread may be reading."""
        self._lines.close()
        self._connection.close()


def receive(server: socket.socket, count: int, seconds: float, reply: Line) -> dict[int, Link]:
    """Waits in process 0 for all others; returns their links by process number.

    Args:
      server: listening socket.
      count: number of processes, this one included.
      seconds: time to wait.
      reply: line sent to each of them once all have connected.

    Raises:
      InputError: a process that does not connect, connects twice or has another ``count``; the
        connected ones are told.
    """
    links: dict[int, Link] = {}
    until = time.monotonic() + seconds

    def refuse(message: str) -> InputError:
        for link in links.values():
            link.send({"refused": message})
            link.close()
        return InputError(message)

    while len(links) < count - 1:
        server.settimeout(max(until - time.monotonic(), 0.001))
        try:
            connection, _ = server.accept()
        except TimeoutError:
            missing = ", ".join(str(i) for i in range(1, count) if i not in links)
            raise refuse(
                f"of {count} processes these have not come within {seconds:g} s: {missing}. {HOW}"
            ) from None
        link = Link(connection)
        hello = link.read(10.0)
        if not isinstance(hello, dict) or not {"process", "processes"} <= hello.keys():
            link.close()  # not one of our processes
            continue
        number, its_count = hello["process"], hello["processes"]
        known = number in links
        links[-1 if known else number] = link
        if its_count != count:
            raise refuse(
                f"process {number} was started with --processes {its_count}, process 0 with "
                f"--processes {count}; give all of them the same"
            )
        if known:
            raise refuse(f"two processes were started with --process-id {number}. {HOW}")
    for link in links.values():
        link.send(reply)
    return links


def call(host: str, port: int, number: int, count: int, seconds: float) -> tuple[Link, Line]:
    """Connects process `number` of `count` to process 0; returns the link and the reply.

    Raises:
      InputError: no answer in time, or a refusal by process 0.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=seconds)
            break
        except OSError as error:
            if time.monotonic() > until:
                raise InputError(
                    f"process 0 does not answer at {address(host, port)} within {seconds:g} s "
                    f"({error}); it must run on that host. {HOW}"
                ) from error
            time.sleep(0.2)
    link = Link(connection)
    link.send({"process": number, "processes": count})
    told = link.read(seconds)
    if not isinstance(told, dict) or "refused" in told:
        link.close()
        gone = f"process 0 at {address(host, port)} has gone"
        raise InputError(told["refused"] if told else gone)
    return link, told


def stop_process(message: str) -> None:
    """Ends this process at once, whatever its threads are waiting for."""
    print(f"mpjax: error: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)


class Watch:
    """Stops this process when another one stops.

    Args:
      number: this process.
      links: to all others in process 0, to process 0 elsewhere.
      stop: called with the message, in another thread.
    """

    def __init__(
        self, number: int, links: Mapping[int, Link], stop: Callable[[str], None] = stop_process
    ) -> None:
        self._number, self._links, self._stop = number, dict(links), stop
        self._threads = [
            threading.Thread(target=self._listen, args=pair, daemon=True) for pair in links.items()
        ]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """Ends the watch: returns when all processes have reached this point."""
        self._tell({"stopped": None})
        for thread in self._threads:
            thread.join()
        for link in self._links.values():
            link.close()

    def fail(self, why: str) -> None:
        """Tells the others that this process is about to end, and why."""
        self._tell({"stopped": f"process {self._number} has stopped: {why}"})

    def _tell(self, line: Line, but: int | None = None) -> None:
        for number, link in self._links.items():
            if number != but:
                link.send(line)

    def _listen(self, other: int, link: Link) -> None:
        last = link.read()
        if last is None:
            last = {"stopped": f"process {other} was killed, or its host or the network failed"}
        if last["stopped"] is None:
            return
        self._tell(last, but=other)
        self._stop(
            f"{last['stopped']}. This process stops too; the same command on every host continues "
            "from the last checkpoint"
        )
