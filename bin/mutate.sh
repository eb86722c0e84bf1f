#!/usr/bin/env bash
# Sets up the environment of the tests and runs bin/mutate.py in it; all arguments go there.
set -euo pipefail
cd "$(dirname "$0")/.."
bin/setup_env.sh test
.venv/bin/python bin/mutate.py "$@"
