"""TF_CONFIG: which processes a job has, which one this is, and what is said if it is not usable."""

import re

import pytest
from cluster_test import environment_of

from steady_bert.base.errors import UserError
from steady_bert.training.cluster import Cluster, from_environment, tasks_in

TWO = {"worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    "text, tasks",
    [
        (None, 0),
        ("", 0),
        ("{", 0),
        ("[]", 0),
        ('{"cluster": null}', 0),
        ('{"cluster": {"worker": 3}}', 0),
        ('{"cluster": {"worker": ["a:1"]}}', 1),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', 2),
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}}', 3),
    ],
)
def test_the_tasks_of_a_job_are_counted(text, tasks):
    assert tasks_in({} if text is None else {"TF_CONFIG": text}) == tasks


@pytest.mark.parametrize(
    "job, task, name, index", [("chief", 0, "chief", 0), ("worker", 0, "worker 0", 1), ("worker", 1, "worker 1", 2)]
)
def test_the_chief_is_the_first_member_and_worker_0_is_the_chief_by_default(job, task, name, index):
    cluster = from_environment(environment_of({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, job, task))
    assert cluster.members == [("chief", "a:1"), ("worker 0", "b:2"), ("worker 1", "c:3")]
    assert (cluster.name, cluster.index, cluster.is_chief) == (name, index, index == 0)
    cluster = from_environment(environment_of(TWO, "worker", task))
    assert cluster.members == [("worker 0", "a:1"), ("worker 1", "b:2")]
    assert (cluster.index, cluster.is_chief) == (task, task == 0)


BAD_CONFIGS = {
    "is not set": {},
    "not JSON (Expecting property name": {"TF_CONFIG": "{'cluster': 1}"},
    'it has no "cluster" of jobs': {"TF_CONFIG": '{"task": {"type": "worker", "index": 0}}'},
    'address "a", which is not host:port': environment_of({"worker": ["a"]}, "worker", 0),
    'address "' + "é" * 56 + "…, which": environment_of({"worker": ["é" * 500]}, "worker", 0),
    'address "a:65536", which': environment_of({"worker": ["a:65536"]}, "worker", 0),
    'address ":1", which is not host:port': environment_of({"worker": [":1"]}, "worker", 0),
    'address "grpc://a:1", which': environment_of({"worker": ["grpc://a:1"]}, "worker", 0),
    "address a:1 occurs twice": environment_of({"chief": ["a:1"], "worker": ["a:1"]}, "worker", 0),
    "address is a:65535, but a free port above": environment_of({"worker": ["a:65535"]}, "worker", 0),
    'job "ps", but the only jobs': environment_of({"worker": ["a:1"], "ps": ["b:1"]}, "worker", 0),
    'address "a..b:1", which': environment_of({"worker": ["a..b:1"]}, "worker", 0),
    'job "chief" has [], not a list': environment_of({"chief": [], "worker": ["a:1"]}, "worker", 0),
    "2 chiefs": environment_of({"chief": ["a:1", "b:1"]}, "chief", 0),
    'type is "chief", but the jobs are worker': environment_of(TWO, "chief", 0),
    'it has no "cluster" of': environment_of({"worker": []}, "worker", 0),
    'job "worker" has "a:1", not a list': environment_of({"worker": "a:1"}, "worker", 0),
    "type is null": environment_of(TWO, None, 0),
    'index is 2, but job "worker" has the indices 0 to 1': environment_of(TWO, "worker", 2),
    "index is -1": environment_of(TWO, "worker", -1),
    "index is true": environment_of(TWO, "worker", True),
}


@pytest.mark.parametrize("problem", sorted(BAD_CONFIGS))
def test_a_bad_tf_config_is_an_error_that_names_the_problem_and_gives_an_example(problem):
    with pytest.raises(UserError) as caught:
        from_environment(BAD_CONFIGS[problem])
    message = str(caught.value)
    assert message.startswith("TF_CONFIG: ")
    assert problem in message
    example = re.search(r"TF_CONFIG='(.*)'", message).group(1)
    assert from_environment({"TF_CONFIG": example}).name == "worker 0"


@pytest.mark.parametrize("addresses, port", [(["a:10", "b:10"], 11), (["a:10", "b:11", "a:12", "b:14", "a:9"], 13)])
def test_the_link_takes_the_first_free_port_above_the_chiefs(addresses, port):
    assert Cluster({"worker": addresses}, "worker", 1).link_address == ("a", port)
    assert Cluster({"worker": addresses[1:], "chief": addresses[:1]}, "worker", 0).link_address == ("a", port)
