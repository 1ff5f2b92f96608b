# shellcheck shell=bash
# Sourced by the scripts that make many runs: `resumable SCRIPT NAME ARGUMENT…` runs SCRIPT with the arguments and
# --output_dir=$runs/NAME, unless that run has finished with the same arguments. The file `seconds` sums the time of all tries.
resumable() {
  local script=$1 output=$runs/$2 status=0 started=$SECONDS before
  shift 2
  before=$(cat "$output/seconds" 2>/dev/null || echo 0)
  if [ "$(head -n 1 "$output/done" 2>/dev/null)" = "$*" ]; then
    echo "$output is done."
    return
  fi
  echo "== ${output##*/}"
  mkdir -p "$output"
  rm -f "$output/done"
  "$PYTHON" "$script" "$@" --output_dir="$output" || status=$?
  echo $((before + SECONDS - started)) >"$output/seconds"
  [ "$status" = 0 ] || exit "$status"
  echo "$*" >"$output/done"
}
