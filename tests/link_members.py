"""Members of a job for tests of the link between workers: each has a thread of its own, or is a socket."""

import concurrent.futures
import contextlib
import json
import re
import socket
import time

import pytest

from steady_bert.base.errors import UserError
from steady_bert.training import link_messages, worker_link
from steady_bert.training.cluster import Cluster
from steady_bert.training.worker_link import Link

LONG_SECS = 60.0  # a limit for what is quick, on a busy machine


def environment_of(cluster, job, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}


def clusters(count):
    """The Cluster of each member of one job; nobody listens at the workers' own ports."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("", port + 1))  # where the link will listen
                break
    addresses = ["127.0.0.1:{}".format(number) for number in [port] + list(range(1, count))]
    return [Cluster({"worker": addresses}, "worker", task) for task in range(count)]


class Members:
    """The members of a job, each in a thread of its own."""

    def __init__(self, count, descriptions=None, on_lost=None, **secs):
        self.job = clusters(count)
        self.lost = [[] for _ in self.job]
        self.on_lost = on_lost
        self.pool = concurrent.futures.ThreadPoolExecutor(2 * count + 2)
        self.secs = dict(dict(join_secs=20.0, beat_secs=0.1, lost_secs=20.0), **secs)
        self.descriptions = descriptions or [{"code": "one"}] * count
        self.links = []

    def join(self, *tasks):
        """Starts the members with these numbers (all by default); gives the futures of their links."""
        return [self.pool.submit(self.link, task) for task in tasks or range(len(self.job))]

    def link(self, task):
        on_lost = self.on_lost or (lambda *text_and_status: self.lost[task].append(text_and_status))
        self.links.append(Link(self.job[task], self.descriptions[task], on_lost, **self.secs))
        return self.links[-1]

    def share(self, links, values):
        return results([self.pool.submit(link.share, value) for link, value in zip(links, values)])

    def fake(self, task, key="", **changed):
        """A socket that joins as a member and then does nothing. changed: of its hello."""
        peer = self.connected()
        challenge = json.loads(read_line(peer))["challenge"]
        name, address = self.job[task].members[task]
        addresses = ", ".join("{} {}".format(*member) for member in self.job[task].members)
        description = dict(self.descriptions[task], **{"cluster in TF_CONFIG": addresses})
        hello = {"name": name, "address": address, "description": description, "nonce": "once"}
        hello["proof"] = link_messages.worker_proof(key, challenge, hello)
        peer.sendall(json.dumps(dict(hello, **changed)).encode() + b"\n")
        return peer

    def connected(self):
        for _ in range(500):
            with contextlib.suppress(OSError):
                return socket.create_connection(self.job[0].link_address, timeout=5)
            time.sleep(0.02)
        raise AssertionError("no chief")

    def who(self, task):
        return "{} ({})".format(*self.job[task].members[task])


def read_line(peer):
    """A line from a socket, byte by byte, so that nothing after it is taken."""
    peer.settimeout(LONG_SECS)
    return b"".join(iter(lambda: peer.recv(1), b"\n")).decode()


@pytest.fixture
def members(monkeypatch):
    """A function that makes Members, which are closed at the end."""
    monkeypatch.setattr(worker_link, "RETRY_SECS", 0.05)
    made = []

    def make(*arguments, **keywords):
        made.append(Members(*arguments, **keywords))
        return made[-1]

    yield make
    for group in made:
        results([group.pool.submit(link.close) for link in group.links])
        group.pool.shutdown()


def results(futures):
    return [future.result(LONG_SECS) for future in futures]


def refusals(futures, kind=UserError):
    """The messages of the errors that the futures raise; one that raises none fails the test."""
    messages = []
    for future in futures:
        with pytest.raises(kind) as caught:
            future.result(LONG_SECS)
        messages.append(str(caught.value))
    return messages


def assert_that_sharing_raises(links, text):
    for link in links:
        with pytest.raises(RuntimeError, match=re.escape(text)):
            link.share(0)
