"""A connection of the link between workers: lines of JSON over a socket, whose end says why. Pure: no TensorFlow."""

import contextlib
import json
import socket
import threading
from typing import Any, Callable, Dict, Optional

MESSAGE_BYTES = 1 << 30  # of a member that has joined; the outputs of an evaluation are its largest
BLOCK_BYTES = 1 << 18


def in_thread(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def nonsense(message: Any) -> str:
    """What is said of the sender of a message that no member sends."""
    return "sent what no worker sends: {:.100}.".format(repr(message))


class Connection:
    """JSON lines over a socket. One thread reads, any thread sends; an error in sending also ends the reading."""

    def __init__(self, raw: socket.socket, silent_secs: float):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # send a heartbeat at once
        raw.settimeout(silent_secs)
        self.socket = raw
        self.member = ("", "")  # name and address of the other end
        self.welcome = ""  # at a worker: the proof that it expects of the chief
        self.left = False  # whether the other end said good-bye, so that its end is no loss
        self.trouble = "is gone: its connection was closed."
        self.ended = threading.Event()
        self._file = raw.makefile("rb")
        self._sending = threading.Lock()
        self._last_sent = False

    def receive(self, limit_bytes: int = MESSAGE_BYTES) -> Optional[Dict[str, Any]]:
        """The next message; None at the end, and then `trouble` says why. Every byte counts as a sign of life."""
        try:
            line = self._file.readline(limit_bytes)
            if not line.endswith(b"\n"):
                if len(line) == limit_bytes:
                    self.trouble = "sent more than {:,} bytes at once.".format(limit_bytes)
                return None
            message = json.loads(line.decode("utf-8"))
            if isinstance(message, dict):
                return message
            self.trouble = nonsense(message)
        except socket.timeout:
            self.trouble = "has been silent for {:g} s.".format(self.socket.gettimeout() or 0)
        except OSError:
            pass
        except (ValueError, RecursionError):
            self.trouble = nonsense(line)
        return None

    def send(self, message: Dict[str, Any], last: bool = False) -> None:
        """Sends a message. After the `last` one the other end closes: closing here could discard bytes on their way."""
        data = memoryview(json.dumps(message).encode("utf-8") + b"\n")
        with self._sending:
            if self._last_sent:  # a heartbeat now would fail, and discard what the other end has not read yet
                return
            self._last_sent = last
            try:
                for start in range(0, len(data), BLOCK_BYTES):  # the timeout holds for one block
                    self.socket.sendall(data[start : start + BLOCK_BYTES])
                if last:
                    self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.shut()

    def shut(self) -> None:
        """Ends the connection at once; its reader sees the end."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Releases the socket; the reading thread calls it at the end."""
        self.shut()
        with self._sending:
            self._file.close()
            self.socket.close()
        self.ended.set()
