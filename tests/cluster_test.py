"""The link between the processes of a job. Members are threads here, and real processes in tests that kill one."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from steady_bert.base.errors import UserError
from steady_bert.training import link_messages, worker_link
from steady_bert.training.cluster import Cluster
from steady_bert.training.worker_link import Alone, Link

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
AGAIN = "This process stops. Launch all again with the same command: the run continues from its newest checkpoint."
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


# Sharing


@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_members_get_all_values_in_the_order_of_the_members(members, count):
    group = members(count)
    links = results(group.join())
    assert [(link.index, link.members, link.is_chief) for link in links] == [(i, count, i == 0) for i in range(count)]
    with pytest.raises(TypeError):
        links[-1].share(b"bytes")  # JSON cannot hold bytes; this call does not count

    def rounds(link):
        return [link.share((link.index, {number: None})) for number in range(100)]

    expected = [[[index, {str(number): None}] for index in range(count)] for number in range(100)]
    assert results([group.pool.submit(rounds, link) for link in links]) == [expected] * count
    assert group.lost == [[]] * count


def test_large_values_arrive_even_if_their_members_close_at_once(members):
    group = members(3)
    large = ["x" * 5000000, "small", "y" * 5000000]

    def share(link, value):
        values = link.share(value)
        link.close()
        return values == large

    futures = [group.pool.submit(share, link, value) for link, value in zip(results(group.join()), large)]
    assert results(futures) == [True] * 3
    assert group.lost == [[], [], []]


def test_a_member_that_reads_late_still_gets_the_last_messages_of_one_that_left(members):
    """A heartbeat after the last message would fail, and discard what the late member has not read."""
    group = members(2)
    futures = group.join(0)
    with group.fake(1) as late:
        (link,) = results(futures)
        large = "x" * 2000000
        late.sendall(b'{"round": 1, "member": "worker 1", "value": 0}\n')
        group.pool.submit(lambda: (link.share(large), link.close()))
        left = 0
        for _ in range(100):
            left += link._leaving
            if left == 10:  # time for ten heartbeats
                break
            time.sleep(0.1)
            late.sendall(b'{"beat": 1}\n')
        received = b"".join(iter(lambda: late.recv(1 << 20), b"")).decode().splitlines()
    assert [json.loads(line) for line in received if "beat" not in line][-2:] == [
        {"round": 1, "member": "worker 0", "value": large},
        {"bye": 1},
    ]


def test_a_single_process_shares_with_itself():
    link = Alone()
    assert (link.index, link.members, link.is_chief, link.share(3)) == (0, 1, True, [3])
    link.close()


# Joining


def test_a_worker_whose_description_differs_ends_the_job_and_all_members_learn_why(members):
    shared = "c" * 1000
    ours, theirs = dict(code="aaa", flags=shared + "lamb"), dict(code="bbb", flags=shared + "adam", data="d")
    expected = (
        "worker 2 (127.0.0.1:2) was refused: its code is bbb, the chief's is aaa; its data is d, the chief's is "
        "absent; its flags is ...{0}adam, the chief's is ...{0}lamb. Give all workers the same"
    ).format("c" * 50)
    messages = refusals(members(3, [ours, ours, theirs]).join())
    assert [message[: len(expected)] for message in messages] == [expected] * 3


def test_another_list_of_workers_ends_the_job_and_late_workers_learn_why(members):
    group = members(3)
    group.job[1] = Cluster({"worker": group.job[0].jobs["worker"][:2]}, "worker", 1)
    futures = group.join(0, 1)
    time.sleep(0.2)
    for message in refusals(futures + group.join(2)):
        assert message.startswith("worker 1 (127.0.0.1:1) was refused: its cluster in TF_CONFIG is ")
        assert "worker 1 127.0.0.1:1, the chief's is " in message


def test_a_second_process_with_the_same_index_is_refused_and_the_job_starts(members):
    group = members(3)
    futures = group.join(0)
    first = group.fake(1)
    assert b"beat" in first.recv(100)  # it has joined
    again = "{0} was refused: a process on 127.0.0.1 has already joined as {0}. Give each its own index in TF_CONFIG."
    assert refusals(group.join(1)) == [again.format("worker 1")]
    with group.fake(0) as second_chief:
        assert again.format("worker 0") in second_chief.recv(1000).decode()
    links = results(futures + group.join(2))
    first.sendall(b'{"round": 1, "member": "worker 1", "value": "b"}\n')
    assert group.share(links, "ac") == [["a", "b", "c"]] * 2
    first.close()


def test_a_process_that_comes_after_the_start_is_refused_and_the_job_continues(members, capsys):
    group = members(2)
    links = results(group.join())
    (message,) = refusals(group.join(1))
    assert re.match(r"worker 1 was refused: the job has already started at 20[-0-9]{8} [:0-9]{8}\. Stop it", message)
    assert group.share(links, "ab") == [["a", "b"]] * 2
    assert group.lost == [[], []]
    assert capsys.readouterr().out == message + " It came from 127.0.0.1.\n"


def test_all_members_learn_who_is_missing(members, monkeypatch):
    monkeypatch.setattr(worker_link, "LINGER_SECS", 0.1)
    expected = "worker 1 (127.0.0.1:1), worker 3 (127.0.0.1:3) did not join within 2 s. Launch every worker"
    for message in refusals(members(4, join_secs=2.0).join(0, 2)):
        assert message.startswith(expected)


def test_a_member_that_ends_before_the_start_ends_the_job(members, monkeypatch):
    monkeypatch.setattr(worker_link, "LINGER_SECS", 0.1)
    group = members(4)
    futures = group.join(0)
    with group.fake(2) as joined, joined.makefile("rb") as lines:
        assert lines.readline() == b'{"beat": 1}\n'
        group.fake(1).close()
        text = group.who(1) + " is gone: its connection was closed. " + AGAIN
        assert json.loads(lines.readlines()[-1].decode()) == {"over": text, "status": 1}
    assert refusals(futures, RuntimeError) == [text]


def test_an_unreachable_chief_is_named_with_the_port_of_the_link(members):
    group = members(2, join_secs=0.2)
    (message,) = refusals(group.join(1))
    address = "{}:{}".format(*group.job[0].link_address)
    assert message.startswith(group.who(0) + ", the chief, cannot be reached at " + address + " within 0.2 s (")


def test_another_program_at_the_port_of_the_link_is_an_error_in_worker_and_chief(members):
    group = members(2, lost_secs=0.3)
    with socket.socket() as other:
        other.bind(group.job[0].link_address)
        other.listen(1)
        at_chief, at_worker = group.join()
        (at_chief,), (at_worker,) = refusals([at_chief]), refusals([at_worker], RuntimeError)
    assert at_chief.startswith("port {}, where the workers reach the chief: ".format(group.job[0].link_address[1]))
    assert at_worker.startswith(group.who(0) + " has been silent for 0.3 s.")


# Losing


def test_a_member_is_lost_after_lost_secs_without_a_byte_and_not_before(members):
    group = members(3, lost_secs=3.0)
    futures = group.join(0, 2)
    with group.fake(1) as peer:
        links = results(futures)
        shared = [group.pool.submit(link.share, 0) for link in links]
        for chunk in [b'{"round": 1, "member": "worker 1", "value": "'] + [b"z"] * 4 + [b'"}\n']:
            peer.sendall(chunk)
            time.sleep(0.6)
        assert results(shared) == [[0, "zzzz", 0]] * 2
        assert group.lost == [[], [], []]
        text = group.who(1) + " has been silent for 3 s. " + AGAIN
        waiting = [group.pool.submit(link.share, 0) for link in links]
        for future in waiting:
            with pytest.raises(RuntimeError, match=re.escape(text)):
                future.result(LONG_SECS)
    assert group.lost == [[(text, 1)], [], [(text, 1)]]
    assert_that_sharing_raises(links, text)


@pytest.mark.parametrize("status", [1, 2])
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_a_member_reaches_all_others_with_its_status(members, failing, status):
    group = members(3)
    links = results(group.join())
    links[failing].fail("train.tsv:7: no label", status)
    text = group.who(failing) + " stopped: train.tsv:7: no label"
    assert_that_sharing_raises([link for link in links if link.index != failing], text)
    assert group.lost == [[] if index == failing else [(text, status)] for index in range(3)]


def test_an_error_after_a_loss_waits_for_on_lost_which_may_close_the_link(members):
    order, lost = [], threading.Event()

    def on_lost(text, status):
        lost.set()
        time.sleep(0.2)
        group.links[0].close()
        order.append("on_lost returned")

    group = members(2, on_lost=on_lost)
    futures = group.join(0)
    with group.fake(1):
        (link,) = results(futures)
    assert lost.wait(LONG_SECS)
    link.fail("collective operation failed", 1)
    order.append("failed")
    assert order == ["on_lost returned", "failed"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_closing_in_any_order_is_no_loss_and_frees_the_port(members, order):
    group = members(3, lost_secs=3600.0)
    links = results(group.join())
    for index in order:  # waiting for the others, which leave later, would take an hour
        links[index].close()
        links[index].close()
        time.sleep(0.05)
    assert group.lost == [[], [], []]
    assert_that_sharing_raises(links[:1], "the link was closed")
    results(group.join())


@pytest.mark.parametrize("leaving, waiting", [(2, 0), (0, 1)])
def test_nobody_waits_for_the_value_of_a_member_that_left(members, leaving, waiting):
    group = members(3)
    links = results(group.join())
    if leaving == 0:  # its own value is known, but it forwards no other
        group.pool.submit(links[0].share, 0)
        while not links[1]._given:
            time.sleep(0.01)
    links[leaving].close()
    assert_that_sharing_raises([links[waiting]], "the link was closed")


# Real processes

MEMBER = """
import os, signal, sys
sys.path.insert(0, {root!r})
from steady_bert.training.cluster import from_environment
from steady_bert.training.worker_link import Link
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell start with SIGINT ignored
link = Link(from_environment(os.environ), {{"code": "one"}}, join_secs=60, beat_secs=0.1, lost_secs=4.0)
print(link.share(link.index), flush=True)
link.share(0) if link.index else signal.pause()
"""


@pytest.mark.parametrize("stopped, how", [(0, "SIGKILL"), (2, "SIGSTOP"), (1, "SIGINT")])
def test_if_a_process_is_stopped_the_others_exit_with_1_and_name_it(stopped, how):
    job = clusters(3)
    command = [sys.executable, "-c", MEMBER.format(root=ROOT)]
    processes = []
    for task in range(3):
        environment = dict(os.environ, **environment_of(job[0].jobs, "worker", task))
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        processes.append(subprocess.Popen(command, env=environment, **pipes))
    try:
        for process in processes:
            assert process.stdout.readline().strip() == "[0, 1, 2]"
        processes[stopped].send_signal(getattr(signal, how))
        if how == "SIGINT":  # must interrupt a main thread that waits for a value
            assert "KeyboardInterrupt" in processes[stopped].communicate(timeout=LONG_SECS)[1]
        why = "has been silent for 4 s." if how == "SIGSTOP" else "is gone: its connection was closed."
        for index in {0, 1, 2} - {stopped}:
            _, errors = processes[index].communicate(timeout=LONG_SECS)
            assert errors.strip() == "error: {} ({}) {} {}".format(*job[0].members[stopped], why, AGAIN)
            assert processes[index].returncode == 1
    finally:
        for process in processes:
            process.kill()
            process.communicate()
