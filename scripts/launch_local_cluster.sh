#!/usr/bin/env bash
# Tries --distribution=multi_worker out: runs a command in N workers on this machine, as several machines would.
#
#   scripts/launch_local_cluster.sh 2 run_classifier.py --do_train …
#
# Every worker gets the same command, --distribution=multi_worker and its own TF_CONFIG; worker 0 is the chief, which
# writes. Its output is shown; that of the others goes to LOGS/worker-K.log. Ctrl-C (or SIGTERM) goes to all: they save
# and stop together.
# The exit status is the first that is not 0. When a worker fails, the others get SIGTERM after 30 s and SIGKILL after
# another 30 s.
#
# PYTHON  the interpreter (default: .venv's)   LOGS   the folder of logs (default: a temporary folder, whose name is shown)
# CORES   cores for each worker, counted from core 0, if taskset is installed (default: all)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

if [ $# -lt 2 ] || ! [ "$1" -ge 1 ] 2>/dev/null; then
  echo "usage: scripts/launch_local_cluster.sh WORKERS SCRIPT.py --flag=value …" >&2
  exit 2
fi
workers=$1
shift
if [ -z "${PYTHON:-}" ]; then
  need_environment .venv requirements-test.txt 3.11 3.12 3.13 3.10
fi
export PYTHON
LOGS=${LOGS:-$(mktemp -d)}
mkdir -p "$LOGS"

# A free port for each worker, and one above the chief's for the link between them.
addresses=$(PYTHONPATH=$ROOT "$PYTHON" - "$workers" <<'PYTHON'
import socket
import sys

from steady_bert.training.cluster import Cluster

while True:
    sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = ["127.0.0.1:{}".format(each.getsockname()[1]) for each in sockets]
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", Cluster({"worker": addresses}, "worker", 0).link_address[1])):
            break
print(",".join(addresses))
PYTHON
)

processes=()
for ((worker = workers - 1; worker >= 0; worker--)); do
  command=("$ROOT/scripts/train_distributed.sh" worker "$worker" "$addresses" "$@")
  if [ -n "${CORES:-}" ] && command -v taskset >/dev/null; then
    command=(taskset -c "$((worker * CORES))-$(((worker + 1) * CORES - 1))" "${command[@]}")
  fi
  if [ "$worker" = 0 ]; then
    "${command[@]}" &
  else
    "${command[@]}" >"$LOGS/worker-$worker.log" 2>&1 &
  fi
  processes[worker]=$!
done
echo "$workers workers; logs of all but the first: $LOGS" >&2

# Bash starts jobs with SIGINT ignored; Python handles it again once it runs.
pass_on() {
  for process in "${processes[@]}"; do
    [ -z "$process" ] || kill -s "$1" "$process" 2>/dev/null || true
  done
}
trap 'pass_on INT' INT
trap 'pass_on TERM' TERM

# The first failure decides the status. Workers that have joined end by themselves; the others are ended here.
status=0
GRACE_SECS=30
failed_at=
next_signal=TERM
while true; do
  running=0
  for ((worker = 0; worker < workers; worker++)); do
    [ -n "${processes[worker]}" ] || continue
    if kill -0 "${processes[worker]}" 2>/dev/null; then
      running=$((running + 1))
      continue
    fi
    code=0
    wait "${processes[worker]}" || code=$?
    processes[worker]=
    if [ "$code" != 0 ]; then
      [ "$worker" = 0 ] || { echo "worker $worker exited with $code:" >&2 && tail -n 5 "$LOGS/worker-$worker.log" >&2; }
      [ "$status" != 0 ] || status=$code
      failed_at=${failed_at:-$SECONDS}
    fi
  done
  [ "$running" -gt 0 ] || break
  if [ -n "$failed_at" ] && [ $((SECONDS - failed_at)) -ge "$GRACE_SECS" ]; then
    pass_on "$next_signal"
    next_signal=KILL
    failed_at=$SECONDS
  fi
  sleep 0.5 || true
done
exit "$status"
