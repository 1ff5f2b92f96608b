# Sourced by the other scripts: finds a Python, makes a virtual environment once, and runs pytest in it.
# An environment is complete when its marker holds the checksum of the requirements it was made from.

# --help prints the first comment of the script that sources this.
case ${1:-} in
  -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# find_python 3.11 3.12 …: prints the first of these versions on PATH or among pyenv's; fails if there is none.
find_python() {
  local version candidate pyenv_root
  pyenv_root=${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}
  if [ ! -d "$pyenv_root/versions" ] && command -v pyenv >/dev/null 2>&1; then
    pyenv_root=$(pyenv root)
  fi
  for version in "$@"; do
    for candidate in python3 python "python$version" "$pyenv_root/versions/$version"*/bin/python; do
      candidate=$(command -v "$candidate" 2>/dev/null) || continue
      if [ "$("$candidate" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$version" ]; then
        echo "$candidate"
        return 0
      fi
    done
  done
  return 1
}

# requirements_checksum FILE: prints the checksum of the file and the files it includes.
requirements_checksum() {
  (cd "$ROOT" && cat "$1" requirements.txt requirements-common.txt requirements-no-deps.txt requirements-serve.txt) | cksum
}

# make_environment FOLDER REQUIREMENTS VERSION…: sets PYTHON. Returns 3 when no such Python is found, 1 when pip fails.
# Each command has its own `|| return`, because `set -e` is off in a function whose status the caller tests.
make_environment() {
  local folder=$ROOT/$1 requirements=$2 marker wanted python
  shift 2
  marker=$folder/.made-from-${requirements##*/}
  wanted=$(requirements_checksum "$requirements")
  PYTHON=$folder/bin/python
  if [ -x "$PYTHON" ] && [ "$(cat "$marker" 2>/dev/null)" = "$wanted" ]; then
    return 0
  fi
  if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then # absent, or interrupted while it was made
    python=$(find_python "$@") || return 3
    echo "Making ${folder##*/} with $("$python" --version 2>&1)"
    rm -rf "$folder"
    "$python" -m venv "$folder" || return 1
  fi
  echo "Installing $requirements (once; some minutes)"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --upgrade pip || return 1
  (cd "$ROOT" && "$PYTHON" -m pip install --quiet --disable-pip-version-check --prefer-binary -r "$requirements") ||
    return 1
  case $requirements in
    requirements.txt | requirements-test.txt)
      (cd "$ROOT" && "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-no-deps.txt) ||
        return 1
      ;;
  esac
  echo "$wanted" >"$marker"
}

need_environment() {
  local status=0
  make_environment "$@" || status=$?
  if [ "$status" = 3 ]; then
    shift 2
    echo "error: no Python $* was found, on PATH or in pyenv's versions folder (with its venv module)." >&2
    echo "Install one, then run this again." >&2
    exit 2
  elif [ "$status" != 0 ]; then
    echo "error: ${1} could not be made; pip's message is above. Run this again." >&2
    exit 1
  fi
}

# run_pytest ARGUMENT…: runs one test on each core. Most of a test's time goes into building a graph, which uses one core.
run_pytest() {
  "$PYTHON" -m pytest -q -n auto --maxprocesses=4 --dist=worksteal "$@"
}
