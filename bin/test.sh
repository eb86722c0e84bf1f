#!/usr/bin/env bash
# Sets up the environment and runs the tests; further arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bin/setup_env.sh test
export TF_CPP_MIN_LOG_LEVEL=2
# A worker each core; a file's tests stay together, because they share what is slow to make, and files in the order of
# tests/conftest.py. A worker that crashes is not replaced: pytest-xdist waits for ever then.
parallel=(-n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0)
.venv/bin/python -m pytest --durations=10 "${parallel[@]}" "$@"
# The layers are keras.ops alone: the same tests hold on Keras's other backend.
KERAS_BACKEND=jax .venv/bin/python -m pytest -q "${parallel[@]}" tests/layers tests/modalities tests/test_model.py "$@"
