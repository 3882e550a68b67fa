"""Connections: how many there may be, how many of one address, and when a silent one is closed.

granian closes a connection that has not sent a whole head of a request in `SECONDS_TO_SEND`, also
between two requests. It cannot count by address, and it accepts no more when it has as many as it
may. So a thread looks at the sockets of the worker, and closes the longest silent ones of an
address that has too many, and of all when little room is left. It needs Linux; elsewhere a proxy
has to do it.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import stat
import struct
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter

from api.auth import network_of

SECONDS_TO_SEND = 10  # a whole head of a request, from the first moment or the last answer on
SECONDS_TO_TAKE = 30  # in which a client must take something of what is sent to it
MOST_ACCEPTED = 4096  # connections of one worker

_SECONDS_BETWEEN_LOOKS = 0.5
_DESCRIPTORS_ASIDE = 256  # for files, snapshots and what else a worker opens
_DESCRIPTORS = "/proc/self/fd"
_OPEN = (1, 8)  # states of TCP: established, and the client has said its last
# Milliseconds since the client last sent something, or connected: tcpi_last_data_recv.
_SILENCE = struct.Struct("@I")
_SILENCE_AT = 52
# Linux' name; Python has it there alone.
_TCP_USER_TIMEOUT = 18


def allow_files() -> None:
    """Raise the number of files that this process may open as far as it may raise it itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_ACCEPTED + _DESCRIPTORS_ASIDE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_accepted() -> int:
    """How many connections a worker may have before it accepts no more."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_ACCEPTED
    return max(16, min(MOST_ACCEPTED, soft - _DESCRIPTORS_ASIDE))


@dataclass(frozen=True)
class Connection:
    """An open connection to a client.

    Attributes:
        address: the client's.
        silence: milliseconds since it sent something, or connected.
        handle: a descriptor of ours for it, so that no other can take its number meanwhile.
    """

    address: str
    silence: int
    handle: socket.socket


class Guard:
    """Keeps the connections to this process within bounds.

    Args:
        most: connections in all; above it, those that were silent for longest are closed.
        most_of_one: of one address; None: any number, as behind a proxy, which is one address.
    """

    def __init__(self, most: int, most_of_one: int | None) -> None:
        """Watch nothing yet."""
        self._ports: set[int] = set()  # that this process listens on
        self._most = most
        self._most_of_one = most if most_of_one is None else most_of_one
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="connections", daemon=True)

    def start(self) -> None:
        """Begin to watch, where the system shows what is needed."""
        if sys.platform == "linux":
            self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            with suppress(OSError):  # a look that fails is made up for by the next
                if not self._ports:
                    self.find_listener()
                self.look()

    def look(self) -> int:
        """Close what is too much; how many were closed."""
        if len(os.listdir(_DESCRIPTORS)) <= min(self._most, self._most_of_one):  # noqa: PTH208
            return 0  # as nearly always
        kept: dict[str, list[Connection]] = defaultdict(list)
        try:
            for connection in self._connections():
                kept[network_of(connection.address)].append(connection)
            closed = 0
            everything: list[Connection] = []
            for connections in kept.values():
                closed += _close_longest_silent(connections, self._most_of_one)
                everything += connections
            return closed + _close_longest_silent(everything, self._most)
        finally:
            for connections in kept.values():
                for connection in connections:
                    connection.handle.close()

    def _connections(self) -> Iterator[Connection]:
        for handle in _sockets():
            try:
                port = handle.getsockname()[1]
                peer = handle.getpeername()
                info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
            except OSError:  # it listens, or was closed just now
                handle.close()
                continue
            if port in self._ports and info[0] in _OPEN:
                (silence,) = _SILENCE.unpack_from(info, _SILENCE_AT)
                yield Connection(peer[0], silence, handle)
            else:  # of ours to somebody else, such as Redis, or about to end
                handle.close()

    def find_listener(self) -> None:
        """Find what this process listens on, and let the kernel end what takes nothing.

        That option, set on the socket that listens, holds for those that it accepts: a connection
        ends when its client takes nothing of an answer for so long.
        """
        for handle in _sockets():
            with handle:
                if handle.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    milliseconds = SECONDS_TO_TAKE * 1000
                    handle.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, milliseconds)
                    self._ports.add(handle.getsockname()[1])


def _sockets() -> Iterator[socket.socket]:
    """A descriptor of ours for each socket of this process; the caller closes it."""
    listed = [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208 - iterdir costs more
    above = max(listed) + 1  # or ours would take the number that the folder had, and be seen again
    for number in listed:
        try:
            descriptor = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above)
        except OSError:  # it was closed just now
            continue
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            continue
        handle = socket.socket(fileno=descriptor)
        try:
            is_of_network = isinstance(handle.getsockname(), tuple)
        except OSError:
            is_of_network = False
        if is_of_network:
            yield handle
        else:
            handle.close()


def _close_longest_silent(connections: list[Connection], most: int) -> int:
    """Close those above the number; granian sees their end as if the client had hung up."""
    if len(connections) <= most:
        return 0
    connections.sort(key=attrgetter("silence"))
    excess = connections[most:]
    del connections[most:]
    for connection in excess:
        with suppress(OSError):
            connection.handle.shutdown(socket.SHUT_RDWR)
        connection.handle.close()
    return len(excess)
