"""What .ci/run leaves behind when one of its parts fails, or when it is stopped."""

import os
import shutil
import signal
import subprocess
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENVIRONMENTS = """
make_environment() {
  sleep 321 &
  echo $! >>"$STARTED"
  sleep 321
}
"""


def is_running(pid):
    """False for a process that has ended, though nobody has waited for it yet."""
    try:
        with open("/proc/{}/stat".format(pid)) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc, which Linux has")
@pytest.mark.parametrize("part, stopped", [("exit 3", False), ("exec sleep 3", True)])
def test_environments_that_are_being_made_end_with_the_script(tmp_path, part, stopped):
    for folder in (".ci", "scripts", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(os.path.join(ROOT, ".ci", "run"), str(tmp_path / ".ci"))
    (tmp_path / "scripts" / "environment.sh").write_text(ENVIRONMENTS)
    wait = 'until [ -s "$STARTED" ]; do sleep .01; done; touch "$STARTED.seen"\n'
    for path, text in (("scripts/quickstart.sh", wait + part), ("bin/chromium", "")):
        (tmp_path / path).write_text("#!/usr/bin/env bash\n" + text)
        (tmp_path / path).chmod(0o755)
    started = tmp_path / "started"
    path = "{}:{}".format(tmp_path / "bin", os.environ["PATH"])
    variables = dict(os.environ, STARTED=str(started), TMPDIR=str(tmp_path), PATH=path)
    process = subprocess.Popen([str(tmp_path / ".ci" / "run")], env=variables, stdout=subprocess.DEVNULL)
    if stopped:
        while not os.path.exists(str(started) + ".seen"):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == (-signal.SIGTERM if stopped else 3)
    pid = int(started.read_text())
    for _ in range(1000):
        if not is_running(pid):
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("{} has outlived .ci/run".format(pid))
