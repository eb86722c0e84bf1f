#!/usr/bin/env bash
# Sets up the environment and runs the tests; further arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bin/setup_env.sh test
export TF_CPP_MIN_LOG_LEVEL=2
.venv/bin/python -m pytest --durations=10 "$@"
# The layers are keras.ops alone: the same tests hold on Keras's other backend.
KERAS_BACKEND=jax .venv/bin/python -m pytest -q tests/layers tests/modalities tests/test_model.py "$@"
