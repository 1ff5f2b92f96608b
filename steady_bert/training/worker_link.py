"""A link between the processes of a job that notices when one is gone.

If a worker of MultiWorkerMirroredStrategy dies, the others wait in a collective operation for ever. So every worker
also keeps a TCP connection of its own to the chief, on a separate port (Cluster.link_address). It carries JSON lines
(link_messages): a hello, which the chief refuses if code, data or flags differ; heartbeats; small values that all
members need; and the news that a member is lost.
"""

import contextlib
import errno
import ipaddress
import json
import os
import secrets
import socket
import sys
import threading
import time
from typing import Any, Callable, Dict, List, NoReturn, Optional, Union

from ..base.errors import UserError
from .cluster import Cluster
from .link_connection import Connection, in_thread, nonsense
from .link_messages import (
    KEY_VARIABLE,
    chief_proof,
    has_shape,
    is_description,
    is_hello,
    is_proof,
    worker_proof,
)

JOIN_SECS = 600.0  # how long members wait for each other: a queue may start machines minutes apart
BEAT_SECS = 2.0
LOST_SECS = 15.0  # a member that is silent for so long is lost
HELLO_SECS = 10.0  # a connection without a hello after so long is dropped
LINGER_SECS = 10.0  # how long the chief of a job that cannot start keeps listening, to tell late members why
RETRY_SECS = 0.2  # between two attempts to reach the chief
HELLO_BYTES = 1 << 20
STRANGERS = 64  # connections to the chief without a hello; one more ends the oldest

REFUSAL = "{} ({}) was refused: {}. Give all workers the same command, code and data, then launch them again."
_BIND = "Name an address of this machine by --cluster_bind, or 0.0.0.0 for all of them, or correct TF_CONFIG."
AGAIN = "This process stops. Launch all again with the same command: the run continues from its newest checkpoint."


class RefusedError(UserError):
    """An error that every member raises, so that none needs to tell the others."""


def stop_now(message: str, status: int) -> NoReturn:
    """Ends this process. Its main thread may hang in TensorFlow, where no exception reaches it."""
    try:
        print("error: " + message, file=sys.stderr, flush=True)
        sys.stdout.flush()
    finally:  # a closed pipe must not keep the process alive
        os._exit(status)


def differences(theirs: Dict[str, str], ours: Dict[str, str]) -> str:
    """How a description differs from the chief's, key by key, shortened to the differences; "" if they are equal."""
    lines = []
    for key in sorted(set(theirs) | set(ours)):
        pair = [str(description.get(key, "absent")) for description in (theirs, ours)]
        if pair[0] != pair[1]:
            start = max(0, len(os.path.commonprefix(pair)) - 50)
            cut = [("..." if start else "") + _printable(value[start : start + 200]) for value in pair]
            lines.append("its {} is {}, the chief's is {}".format(_printable(key), *cut))
    return "; ".join(lines)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class Link:
    """This process's connection to the chief, or the chief's to all the others.

    The constructor returns when all members have joined. `description` must be the same in all members, such as
    {"code": ..., "data": ...}. The constructor raises UserError if a member is missing after `join_secs` or was
    refused, and RuntimeError if one is lost before the start. If one is lost later, a thread calls `on_lost` once, with
    a message and the exit status that all members share: 1, or 2 for a user's mistake. After on_lost has returned
    (stop_now does not), share() raises RuntimeError.

    key: what all members know and others do not, or "". bind: the address of this machine on which the chief listens;
    "": the one that TF_CONFIG gives it.
    """

    def __init__(
        self,
        cluster: Cluster,
        description: Dict[str, str],
        on_lost: Callable[[str, int], None] = stop_now,
        join_secs: float = JOIN_SECS,
        beat_secs: float = BEAT_SECS,
        lost_secs: float = LOST_SECS,
        key: str = "",
        bind: str = "",
    ):
        self.cluster = cluster
        self.index, self.members, self.is_chief = cluster.index, len(cluster.members), cluster.is_chief
        # the cluster is compared too: with another list of workers all ranks would be wrong
        addresses = ", ".join("{} {}".format(*member) for member in cluster.members)
        self._description = dict(description, **{"cluster in TF_CONFIG": addresses})
        self._on_lost = on_lost
        self._join_secs, self._beat_secs, self._lost_secs = join_secs, beat_secs, lost_secs
        self._key, self._bind = key, bind
        # guards everything below; reentrant, since a signal handler may call fail() in a thread that holds it
        self._changed = threading.Condition()
        self._peers: List[Connection] = []  # to the members that joined; at a worker: to the chief
        self._strangers: List[Connection] = []  # at the chief: to those that have not joined, the oldest first
        self._joined = {cluster.name: cluster.link_address[0]}  # at the chief: member -> host
        self._started = ""  # when, in words
        self._over = ""  # why the job ends or cannot start
        self._status = 2  # the exit status that goes with it
        self._losing: Optional[threading.Thread] = None  # the thread that calls on_lost
        self._on_lost_returned = False
        self._leaving = False
        self._round = 0  # calls of share()
        self._heard: Dict[str, int] = {}  # member -> the last round whose value came from it
        self._given: Dict[int, Dict[str, Any]] = {}  # round -> member -> value
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)  # used by the chief
        try:
            (self._gather if self.is_chief else self._join)()
            if not self._started:
                raise (UserError if self._status == 2 else RuntimeError)(self._over)
        except BaseException as error:
            self.fail(repr(error), 1)
            raise

    def _accept(self) -> None:
        while not self._leaving:
            try:
                raw, address = self._listener.accept()
                connection = Connection(raw, HELLO_SECS)
            except OSError:  # this process is leaving, the other one gave up, or no file descriptor is free
                time.sleep(RETRY_SECS)
                continue
            with self._changed:
                self._strangers.append(connection)
                oldest = self._strangers.pop(0) if len(self._strangers) > STRANGERS else None
            if oldest is not None:
                oldest.shut()
            in_thread(self._serve, connection, address[0])

    def _serve(self, connection: Connection, host: str) -> None:
        """Reads one connection to the chief, from its hello to its end. Anybody may connect and send anything."""
        too_late = threading.Timer(HELLO_SECS, connection.shut)  # a byte now and then is no hello
        too_late.daemon = True
        too_late.start()
        try:
            challenge = secrets.token_hex(16)
            connection.send({"challenge": challenge, "keyed": bool(self._key)})
            hello = connection.receive(HELLO_BYTES) or {}
            refusal = self._welcome(connection, challenge, hello, host) if is_hello(hello) else None
            if refusal == "":
                too_late.cancel()
                in_thread(self._beat, connection)
                self._read(connection)
            elif refusal:
                with contextlib.suppress(OSError, ValueError):  # nobody reads it, or not in these letters
                    print("{} It came from {}.".format(refusal, host), flush=True)
                connection.send({"over": refusal, "status": 2}, last=True)
                while connection.receive(HELLO_BYTES) is not None:  # until it closes; its messages are ignored
                    pass
        finally:
            too_late.cancel()
            with self._changed, contextlib.suppress(ValueError):
                self._strangers.remove(connection)
            connection.close()

    def _welcome(self, connection: Connection, challenge: str, hello: Dict[str, Any], host: str) -> str:
        """Lets a process that said hello join; or gives the reason why it is refused."""
        name, address = hello["name"], hello["address"]
        with self._changed:
            if not is_proof(hello["proof"], worker_proof(self._key, challenge, hello)):
                why = "it does not know" if hello["proof"] else "it was not given"
                text = "{:.50} was refused: {} the key of this job. Set the same {} for all workers."
                return text.format(repr(name), why, KEY_VARIABLE)
            refusal = self._refusal(name, address, hello["description"])
            if refusal:
                return refusal
            if connection not in self._strangers:  # it was the oldest of too many, and is shut
                text = "{} was refused: {} other connections came meanwhile. Launch it again."
                return text.format(name, STRANGERS)
            self._strangers.remove(connection)
            connection.member = (name, address)
            connection.socket.settimeout(self._lost_secs)
            self._joined[name] = host
            if self._key:  # before it is a peer, so that nothing comes first
                connection.send({"welcome": chief_proof(self._key, challenge, hello)})
            self._peers.append(connection)
            self._changed.notify_all()
        return ""

    def _refusal(self, name: str, address: str, description: Dict[str, str]) -> str:
        """Why only this process is refused, or "". A process whose description differs joins, ends the job, and all
        members hear why."""
        if name not in [name for name, _ in self.cluster.members]:
            text = "{:.50} was refused: the TF_CONFIG of this job has no such worker. Give all workers the same list."
            return text.format(repr(name))
        if self._started:
            text = "{} was refused: the job has already started at {}. Stop it and launch all workers again."
            return text.format(name, self._started)
        if name in self._joined:
            text = "{0} was refused: a process on {1} has already joined as {0}. Give each its own index in TF_CONFIG."
            return text.format(name, self._joined[name])
        different = differences(description, self._description)
        if different and not self._over:
            self._over = REFUSAL.format(name, _printable(address), different)
        return ""

    def _missing(self) -> List[str]:
        return ["{} ({})".format(*member) for member in self.cluster.members if member[0] not in self._joined]

    def _gather(self) -> None:
        """In the chief: waits for all members, then starts the job. If it cannot, `_over` says why."""
        host, port = self.cluster.link_address
        host = self._bind or host
        try:
            # otherwise the port of a run that has just ended is blocked for a minute
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, port))
            self._listener.listen(128)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                text = "{}: this machine has no such address ({}). {}"
                raise UserError(text.format(host, error.strerror, _BIND)) from None
            text = "port {}, where the workers reach the chief: {}. Stop what uses it, or change TF_CONFIG."
            raise UserError(text.format(port, error.strerror)) from None
        bound = self._listener.getsockname()[0]
        if ipaddress.ip_address(bound).is_loopback and not self.cluster.on_one_machine:
            text = "{} is {} on this machine, which no other machine reaches. {}"
            raise UserError(text.format(host, bound, _BIND))
        in_thread(self._accept)
        with self._changed:
            self._changed.wait_for(lambda: self._over or not self._missing(), self._join_secs)
            if not self._over and self._missing():
                text = "{} did not join within {:g} s. Launch every worker with its own TF_CONFIG."
                self._over = text.format(", ".join(self._missing()), self._join_secs)
            if self._over:
                self._changed.wait_for(lambda: not self._missing(), LINGER_SECS)
                return
            self._started = time.strftime("%Y-%m-%d %H:%M:%S")
        for peer in self._peers:
            peer.send({"start": self._started})

    def _join(self) -> None:
        """In a worker: connects to the chief and waits until it starts or refuses the job, or a deadline passes."""
        host, port = self.cluster.link_address
        deadline = time.monotonic() + self._join_secs
        while True:
            try:
                raw = socket.create_connection((host, port), timeout=5)
                # TCP connects a port to itself if nobody listens there and the kernel chooses it for this end too
                if raw.getsockname() != raw.getpeername():
                    break
                raw.close()
                problem = "nobody listens"
            except OSError as error:
                problem = str(error)
            if time.monotonic() >= deadline:
                text = (
                    "{} ({}), the chief, cannot be reached at {}:{} within {:g} s ({}). Is it running, the port open?"
                )
                raise UserError(text.format(*self.cluster.members[0], host, port, self._join_secs, problem))
            time.sleep(RETRY_SECS)
        connection = Connection(raw, self._lost_secs)
        connection.member = self.cluster.members[0]
        self._say_hello(connection)
        self._peers.append(connection)
        in_thread(self._read, connection)
        in_thread(self._beat, connection)
        with self._changed:
            self._changed.wait_for(lambda: self._started or self._over)

    def _say_hello(self, connection: Connection) -> None:
        asked = connection.receive(HELLO_BYTES) or {}
        challenge = asked.get("challenge", "")
        if self._key and asked.get("keyed") is False:
            connection.close()
            text = "{} ({}), the chief, has no key. Set the same {} for all workers."
            raise UserError(text.format(*connection.member, KEY_VARIABLE))
        name, address = self.cluster.members[self.index]
        hello = {"name": name, "address": address, "description": self._description, "nonce": secrets.token_hex(16)}
        connection.welcome = chief_proof(self._key, challenge, hello)
        connection.send(dict(hello, proof=worker_proof(self._key, challenge, hello)))

    def _beat(self, connection: Connection) -> None:
        while not connection.ended.wait(self._beat_secs):
            connection.send({"beat": 1})

    def _read(self, connection: Connection) -> None:
        over, status = "", 1
        for message in iter(connection.receive, None):
            with self._changed:
                expected = self._is_expected(connection, message)
            if not expected:
                connection.trouble = nonsense(message)
                break
            over, status = message.get("over", ""), message.get("status", 1)
            if over:
                break
            if "round" in message:  # forward, then store: once the chief has all values, all others get them
                for peer in self._peers:
                    if peer is not connection:
                        peer.send(message)
            with self._changed:
                if "round" in message:
                    self._heard[message["member"]] = message["round"]
                    self._given.setdefault(message["round"], {})[message["member"]] = message["value"]
                self._started = self._started or message.get("start", "")
                connection.left = connection.left or "bye" in message
                self._changed.notify_all()
        connection.close()
        if over or not connection.left:
            self._lose(over or "{} ({}) {} {}".format(*connection.member, connection.trouble, AGAIN), status)

    def _is_expected(self, connection: Connection, message: Dict[str, Any]) -> bool:
        """Whether this may be the connection's next message. A member speaks for itself, the chief for all others."""
        if not has_shape(message):
            return False
        if connection.welcome and "over" not in message:  # nothing else is believed before the chief's proof
            if not is_proof(message.get("welcome", ""), connection.welcome):
                return False
            connection.welcome = ""
            return True
        if "round" in message:
            number, member = message["round"], message["member"]
            speaks_for = {name for name, _ in self.cluster.members} - {self.cluster.name}
            if self.is_chief:
                speaks_for = {connection.member[0]}
            # A member may be a call ahead of this one, since a call ends when all members' values are there.
            next_one = number == self._heard.get(member, 0) + 1 and number <= self._round + 1
            return next_one and member in speaks_for
        return "start" not in message or not self.is_chief

    def _lose(self, text: str, status: int) -> None:
        """Ends the job, once: the chief tells the others, then on_lost is called; before the start Link() raises."""
        with self._changed:
            if self._over or self._leaving:
                return
            self._over, self._status = text, status
            self._changed.notify_all()
            if not self._started:
                return
            self._losing = threading.current_thread()
        self._tell({"over": text, "status": status})
        self._on_lost(text, status)
        with self._changed:
            self._on_lost_returned = True
            self._changed.notify_all()

    def _tell(self, message: Dict[str, Any]) -> None:
        """Sends a last message to all and waits until they close. By threads: a slow peer must not delay the others."""
        peers = list(self._peers)
        for peer in peers:
            in_thread(peer.send, message, True)
        deadline = time.monotonic() + self._lost_secs
        for peer in peers:
            peer.ended.wait(max(0.0, deadline - time.monotonic()))
            peer.shut()

    def share(self, value: Any, is_valid: Callable[[Any], bool] = lambda value: True) -> List[Any]:
        """The values of all members, in members' order. A value must be JSON-able; a tuple comes back as a list.

        Every member calls it the same number of times, and it returns when all have. Raises RuntimeError if a member is
        lost and on_lost has returned, and after close(), here or in a member whose value is missing; and, with the
        member's name, if its value is not valid.
        """
        name, value = self.cluster.name, json.loads(json.dumps(value))
        with self._changed:
            self._round += 1
            number = self._round
            given = self._given.setdefault(number, {})
            given[name] = value
        for peer in self._peers:
            peer.send({"round": number, "member": name, "value": value})
        with self._changed:
            while len(given) < self.members:  # in a worker all values come from the chief
                left = any(peer.left and not (self.is_chief and peer.member[0] in given) for peer in self._peers)
                if left or self._on_lost_returned or self._leaving:
                    raise RuntimeError(self._over or "share() waits for a value, but the link was closed")
                self._changed.wait()
            del self._given[number]
        for member in self.cluster.members:
            if not is_valid(given[member[0]]):
                raise RuntimeError("{} ({}) {} {}".format(*member, nonsense(given[member[0]]), AGAIN))
        return [given[name] for name, _ in self.cluster.members]

    def agree(self, description: Dict[str, str]) -> None:
        """Raises RefusedError in all members if the description of one differs from the chief's."""
        descriptions = self.share(description, is_description)
        for (name, address), theirs in zip(self.cluster.members, descriptions):
            different = differences(theirs, descriptions[0])
            if different:
                raise RefusedError(REFUSAL.format(name, address, different))

    def fail(self, message: str, status: int) -> None:
        """Tells the others that this member stops because of an error of its own, and the exit status."""
        stopped = "{} ({}) stopped: {}".format(*self.cluster.members[self.index], message)
        text, status = (self._over, self._status) if self._over else (stopped, status)
        self._leave({"over": text, "status": status})

    def close(self) -> None:
        """Says good-bye, so that the end of this process is no loss. May be called again."""
        self._leave({"bye": 1})

    def _leave(self, farewell: Dict[str, Any]) -> None:
        with self._changed:
            # if a member is lost TensorFlow may raise too: on_lost has the better message, so it may finish first
            while self._losing not in (None, threading.current_thread()) and not self._on_lost_returned:
                self._changed.wait()
            if self._leaving:
                return
            self._leaving = True
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends accept()
        self._listener.close()
        self._tell(farewell)


class Alone:
    """Stands in for Link in a run of one process."""

    index, members, is_chief = 0, 1, True

    def share(self, value: Any, is_valid: Callable[[Any], bool] = lambda value: True) -> List[Any]:
        return [value]

    def close(self) -> None:
        pass


Member = Union[Link, Alone]  # how this process is linked to the others, if there are any
