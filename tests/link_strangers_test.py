"""The link between workers and what is no worker: who may join, where the chief listens, and what may be said."""

import contextlib
import json
import os
import re
import socket
import threading

import pytest
from cluster_test import LONG_SECS, assert_that_sharing_raises, clusters, members, read_line, refusals, results

from steady_bert.base.errors import UserError
from steady_bert.training import link_messages, worker_link
from steady_bert.training.cluster import Cluster
from steady_bert.training.worker_link import Link

__all__ = ["members"]  # a fixture

HALF = b'{"name": "a", "address": "b", "description": {}, "nonce": "n", "proof": "\\ud800"}\n'  # of a pair of UTF-16
GARBAGE = [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", b"[1]\n", b'{"name": 1}\n', b"[" * 100000 + b"\n", HALF]


def test_connections_without_a_hello_are_dropped_and_block_nobody(members, monkeypatch):
    monkeypatch.setattr(worker_link, "HELLO_SECS", 1000.0)
    group = members(2)
    futures = group.join(0)
    silent = group.connected()
    strangers = [group.connected() for _ in GARBAGE]
    for stranger, garbage in zip(strangers, GARBAGE):
        stranger.sendall(garbage)
    with group.connected() as stranger, pytest.raises(ConnectionError):  # dropped before it fills the memory
        stranger.sendall(b"x" * (100 << 20))
    links = results(futures + group.join(1))
    assert group.share(links, "ab") == [["a", "b"]] * 2
    assert "challenge" in read_line(silent)
    silent.settimeout(0.01)
    with silent, pytest.raises(socket.timeout):
        silent.recv(1)  # the chief still waits for its hello
    monkeypatch.setattr(worker_link, "HELLO_SECS", 0.2)
    for stranger in strangers + [group.connected()]:
        stranger.settimeout(LONG_SECS)
        with stranger, contextlib.suppress(ConnectionError):
            assert "challenge" in read_line(stranger)
            assert b"".join(iter(lambda stranger=stranger: stranger.recv(1000), b""))[:7] in (b"", b'{"over"')
    assert group.lost == [[], []] and not links[0]._strangers[1:]  # but the silent one


@pytest.mark.parametrize("key", ["", "secret"])
def test_strangers_are_refused_alone_and_the_job_starts(members, monkeypatch, capsys, key):
    """An unknown name, another key or none, and a hello that was recorded: none of them ends the job."""
    monkeypatch.setattr(worker_link, "STRANGERS", 5)
    group = members(2, key=key)
    futures = group.join(0)
    if not key:
        strangers = {"'worker 7' was refused: the TF_CONFIG": group.fake(1, name="worker 7")}
    else:
        strangers = {
            "'worker 1' was refused: it was not given": group.fake(1),
            "'worker 1' was refused: it does not know": group.fake(1, "other"),
            "'worker 7' was refused: it does not know": group.fake(1, key, name="worker 7"),
        }
    for refusal, stranger in strangers.items():
        message = json.loads(read_line(stranger))
        assert message["over"].startswith(refusal) and message["status"] == 2
    crowd = [group.connected() for _ in range(5)]
    oldest = next(iter(strangers.values()))
    with contextlib.suppress(ConnectionError):  # one more than 5 ends the oldest
        assert oldest.recv(100) == b""
    links = results(futures + group.join(1))
    assert group.share(links, "ab") == [["a", "b"]] * 2
    assert group.lost == [[], []]
    assert capsys.readouterr().out.count("It came from 127.0.0.1.") == len(strangers)
    for stranger in crowd + list(strangers.values()):
        stranger.close()


def test_a_worker_that_was_ended_as_the_oldest_of_too_many_has_not_joined(members, monkeypatch):
    """Others came between its hello and the answer to it."""
    crowd, is_hello, done = [], link_messages.is_hello, threading.Event()

    def crowded(hello):
        if not crowd:
            crowd.append(group.connected())
            assert "challenge" in read_line(crowd[0])
            done.set()
        return is_hello(hello)

    monkeypatch.setattr(worker_link, "STRANGERS", 1)
    monkeypatch.setattr(worker_link, "is_hello", crowded)
    group = members(2)
    futures = group.join(0)
    with group.fake(1) as ended, contextlib.suppress(ConnectionError):
        assert ended.recv(100) == b""
    assert done.wait(LONG_SECS)
    links = results(futures + group.join(1))
    assert group.share(links, "ab") == [["a", "b"]] * 2 and group.lost == [[], []]
    crowd[0].close()


def test_neither_a_recorded_hello_nor_a_proof_of_ones_own_serves_again():
    hello = {"name": "worker 1", "address": "a:1", "description": {"code": "one"}, "nonce": "once"}
    proof = link_messages.worker_proof("secret", "challenge", hello)
    others = [link_messages.worker_proof("secret", "another challenge", hello)]
    others += [link_messages.worker_proof(key, "challenge", hello) for key in ("", "Secret")]
    others.append(link_messages.chief_proof("secret", "challenge", hello))
    changed = dict(name="worker 2", address="b:1", description={}, nonce="twice")
    others += [link_messages.worker_proof("secret", "challenge", dict(hello, **{k: v})) for k, v in changed.items()]
    others.append("\ud800")  # JSON may hold half a pair
    assert link_messages.is_proof(proof, proof) and not any(link_messages.is_proof(other, proof) for other in others)
    assert len(link_messages.worker_proof(os.fsdecode(b"\xff"), "challenge", hello)) == 64  # a key of any bytes


def test_a_key_that_one_side_lacks_is_named_there(members):
    group = members(2, key="secret")
    futures = group.join(0)
    group.connected().close()  # the chief has its key
    group.secs["key"] = ""
    (message,) = refusals(group.join(1))
    assert message.startswith("'worker 1' was refused: it was not given the key of this job. Set the same STEADY_BERT_")
    group.secs["key"] = "secret"
    results(futures + group.join(1))
    group = members(2)
    futures = group.join(0)
    group.connected().close()
    group.secs["key"] = "secret"
    (message,) = refusals(group.join(1))
    assert message == group.who(0) + ", the chief, has no key. Set the same STEADY_BERT_CLUSTER_KEY for all workers."
    group.secs["key"] = ""
    results(futures + group.join(1))


def test_a_worker_believes_no_chief_that_does_not_know_the_key(members):
    group = members(2, key="secret")
    with socket.socket() as false_chief:
        false_chief.bind(group.job[0].link_address)
        false_chief.listen(1)
        futures = group.join(1)
        connection, _ = false_chief.accept()
        connection.sendall(b'{"challenge": "c", "keyed": true}\n{"start": "now"}\n')
        (message,) = refusals(futures, RuntimeError)
        connection.close()
    assert message.startswith(group.who(0) + " sent what no worker sends: {'start': 'now'}.")


NONSENSE = [
    b"\xff\xfe",
    b"null",
    b"[" * 100000,
    b"{}",
    b'{"beat": true}',
    b'{"beat": 1, "bye": 1}',
    b'{"start": "now"}',
    b'{"welcome": 1}',
    b'{"over": ["text"], "status": 1}',
    b'{"over": "text"}',
    b'{"round": "1", "member": "worker 1", "value": 0}',
    b'{"round": true, "member": "worker 1", "value": 0}',
    b'{"round": 0, "member": "worker 1", "value": 0}',
    b'{"round": 2, "member": "worker 1", "value": 0}',
    b'{"round": 1, "member": "worker 0", "value": 0}',
    b'{"round": 1, "member": ["worker 1"], "value": 0}',
    b'{"round": 1, "member": "worker 1"}',
    b'{"round": 1, "member": "worker 1", "value": 0}\n{"round": 1, "member": "worker 1", "value": 0}',
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_message_of_a_wrong_shape_ends_the_job_and_names_its_sender(members, nonsense):
    group = members(3)
    futures = group.join(0, 2)
    with group.fake(1) as peer:
        links = results(futures)
        peer.sendall(nonsense + b"\n")
        hears = links[:1] if b"\n" in nonsense else links  # worker 2 has all values of the first round
        assert_that_sharing_raises(hears, group.who(1) + " sent what no worker sends: ")


def test_a_value_of_a_wrong_shape_is_an_error_that_names_its_sender(members):
    group = members(2)
    links = results(group.join())
    futures = [group.pool.submit(link.agree, value) for link, value in zip(links, ({"a": "b"}, {"a": 1}))]
    for message in refusals(futures, RuntimeError):
        assert message.startswith(group.who(1) + " sent what no worker sends: {'a': 1}.")


@pytest.mark.parametrize(
    "workers, bind, problem",
    [
        (["192.0.2.1:{}", "192.0.2.2:1"], "", "192.0.2.1: this machine has no such address ("),
        (
            ["192.0.2.1:{}", "192.0.2.2:1"],
            "127.0.0.1",
            "127.0.0.1 is 127.0.0.1 on this machine, which no ",
        ),
        (
            ["localhost:{}", "192.0.2.2:1"],
            "",
            "localhost is 127.0.0.1 on this machine, which no ",
        ),
        (["127.0.0.1:{}", "127.0.0.1:1"], "no.such.host.invalid", "no.such.host.invalid: this machine has no such"),
    ],
)
def test_an_address_at_which_nobody_would_reach_the_chief_is_named(workers, bind, problem):
    port = clusters(1)[0].jobs["worker"][0].rpartition(":")[2]
    job = Cluster({"worker": [workers[0].format(port), workers[1]]}, "worker", 0)
    with pytest.raises(UserError, match="^" + re.escape(problem)) as caught:
        Link(job, {}, join_secs=0.1, bind=bind)
    assert "--cluster_bind" in str(caught.value)


def test_the_chief_listens_at_its_own_address_alone_or_where_it_is_told(members):
    group = members(2)
    futures = group.join(0)
    port = group.job[0].link_address[1]
    group.connected().close()
    with pytest.raises(ConnectionError):  # another address of this machine
        socket.create_connection(("127.0.0.2", port), timeout=5)
    results(futures + group.join(1))
    group = members(2, bind="0.0.0.0")
    futures = group.join(0)
    group.connected().close()
    socket.create_connection(("127.0.0.2", group.job[0].link_address[1]), timeout=5).close()
    results(futures + group.join(1))
