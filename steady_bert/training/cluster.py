"""The processes of a job on several machines, as TF_CONFIG lists them."""

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Set, Tuple

from ..base import json_files
from ..base.errors import UserError
from ..base.json_files import kind_of

EXAMPLE = (
    'For two machines, give the first TF_CONFIG=\'{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}\' and the second the same with "index": 1.'
)


@dataclass(frozen=True)
class Cluster:
    """The processes of a job, as TF_CONFIG lists them; the chief is member 0."""

    jobs: Dict[str, List[str]]  # {"worker": ["host:port", ...]}, perhaps with "chief": ["host:port"]
    job: str  # this process's task type
    task: int  # and its index in that job

    @property
    def members(self) -> List[Tuple[str, str]]:
        """(name, "host:port") of every process, the chief first. Without a job "chief", worker 0 is the chief."""
        workers = enumerate(self.jobs.get("worker", []))
        chief = [("chief", address) for address in self.jobs.get("chief", [])]
        return chief + [("worker {}".format(task), address) for task, address in workers]

    @property
    def index(self) -> int:
        """This process's position in `members`."""
        return self.task + (len(self.jobs.get("chief", [])) if self.job == "worker" else 0)

    @property
    def name(self) -> str:
        return self.members[self.index][0]

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def link_address(self) -> Tuple[str, int]:
        """The chief's host, and the first port above its own that no member uses: ports on one machine often follow."""
        ports = [int(address.rpartition(":")[2]) for _, address in self.members]
        port = next(port for port in range(ports[0] + 1, 1 << 17) if port not in ports)
        return self.members[0][1].rpartition(":")[0], port

    @property
    def on_one_machine(self) -> bool:
        """Whether all processes have the same host: then nobody beyond that machine needs to reach their ports."""
        return len({address.rpartition(":")[0] for _, address in self.members}) == 1


def mistake(problem: str, *values: Any) -> UserError:
    return UserError("TF_CONFIG: {}. {}".format(problem.format(*values), EXAMPLE))


def checked_jobs(jobs: Any) -> Dict[str, List[str]]:
    """The "cluster" of a TF_CONFIG. Raises UserError if it is not usable."""
    if not isinstance(jobs, dict) or not any(jobs.values()):
        raise mistake('it has no "cluster" of jobs and their addresses')
    seen: Set[str] = set()
    for job, addresses in jobs.items():
        if job not in ("chief", "worker"):
            raise mistake('it has a job "{:.60}", but the only jobs are "worker" and "chief"', job)
        if not isinstance(addresses, list) or not addresses:  # TensorFlow would take an empty list for a chief
            raise mistake(
                'job "{}" has {}, not a list of addresses', job, "[]" if addresses == [] else kind_of(addresses)
            )
        if job == "chief" and len(addresses) > 1:
            raise mistake("it has {} chiefs, but a job has one", len(addresses))
        for address in addresses:
            if not isinstance(address, str) or not _is_address(address):
                raise mistake('job "{}" has the address {}, which is not host:port', job, kind_of(address))
            if address in seen:
                raise mistake("the address {:.60} occurs twice, but every process needs its own", address)
            seen.add(address)
    return jobs


def _is_address(text: str) -> bool:
    match = re.fullmatch(r"([^\s:/]+):([0-9]{1,5})", text)
    if match is None or not 1 <= int(match.group(2)) <= 65535:
        return False
    try:
        match.group(1).encode("idna")  # as the look-up of a host name does
    except UnicodeError:
        return False
    return True


def tasks_in(environment: Mapping[str, str]) -> int:
    """How many processes the job has that TF_CONFIG describes; 0 if it is not set, or describes none."""
    try:
        jobs = _parsed(environment.get("TF_CONFIG", ""))["cluster"]
        return sum(len(addresses) for addresses in jobs.values())
    except (UserError, KeyError, AttributeError, TypeError):
        return 0


def _parsed(text: str) -> Dict[str, Any]:
    return json_files.parse(text.encode("utf-8", "surrogateescape"), "TF_CONFIG", remedy=EXAMPLE)


def from_environment(environment: Mapping[str, str]) -> Cluster:
    """Reads TF_CONFIG. If it is not usable, raises a UserError that says what is wrong and gives an example."""
    text = environment.get("TF_CONFIG", "")
    if not text.strip():
        raise mistake("it is not set, so this process does not know the other workers")
    config = _parsed(text)
    jobs = checked_jobs(config.get("cluster"))
    task = config.get("task")
    job, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    if not isinstance(job, str) or job not in jobs:
        raise mistake("the task's type is {}, but the jobs are {}", kind_of(job), ", ".join(sorted(jobs)))
    last = len(jobs[job]) - 1
    if type(index) is not int or not 0 <= index <= last:  # bool is an int for isinstance
        raise mistake('the task\'s index is {}, but job "{}" has the indices 0 to {}', kind_of(index), job, last)
    cluster = Cluster(jobs, job, index)
    if cluster.link_address[1] > 65535:
        raise mistake("the chief's address is {}, but a free port above it is needed", cluster.members[0][1])
    return cluster
