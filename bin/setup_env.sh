#!/usr/bin/env bash
# Makes .venv at the top of the checkout and installs the package into it; does nothing when that is done.
# Usage: bin/setup_env.sh [extra], for instance `bin/setup_env.sh test`.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-}
python=
for candidate in python3.12 python3.11 python3; do
  if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup_env.sh: no Python 3.11 or 3.12 with the venv module on PATH; install one (TensorFlow 2.17 needs it)." >&2
  exit 1
fi
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
  echo "Making .venv with $python"
  "$python" -m venv --clear .venv
fi
stamp=".venv/installed${extra:+-$extra}"
if [ "$(cat "$stamp" 2>/dev/null)" != "$(cksum <setup.py)" ]; then
  echo "Installing t2t_mm${extra:+ [$extra]} and its dependencies (one to three minutes, 3 GB)"
  # Most modules are never imported; those that are get compiled then.
  .venv/bin/python -m pip install --no-compile --quiet --disable-pip-version-check -e ".${extra:+[$extra]}"
  cksum <setup.py >"$stamp"
fi
