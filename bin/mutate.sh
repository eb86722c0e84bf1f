#!/usr/bin/env bash
# Sets up the test environment, runs bin/mutate.py in it and passes all arguments to it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin/setup_env.sh test
.venv/bin/python bin/mutate.py "$@"
