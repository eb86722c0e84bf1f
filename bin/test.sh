#!/usr/bin/env bash
# Sets up the environment, runs the linter and the tests, and passes other arguments to pytest.
#
#   bin/test.sh                                    all checks, with the newest supported Python and TensorFlow
#   bin/test.sh --quick                            the linter and the tests not marked slow; takes less than two minutes
#   bin/test.sh --python=3.11 --tensorflow=2.17    all checks, with the oldest supported versions
set -euo pipefail
cd "$(dirname "$0")/.."
quick= pair=() rest=()
for argument in "$@"; do
  case $argument in
    --quick) quick=yes ;;
    --python=*|--tensorflow=*) pair+=("$argument") ;;
    *) rest+=("$argument") ;;
  esac
done
bin/setup_env.sh test "${pair[@]}"
environment=$(bin/setup_env.sh test "${pair[@]}" --print | tail -n 1)
python=$environment/bin/python
export TF_CPP_MIN_LOG_LEVEL=2

$python -m ruff check .
$python -m ruff format --check --quiet . || { echo "Some files are not formatted: run ruff format ." >&2; exit 1; }
# Only with the default versions, because the type annotations of older numpy releases differ.
[ ${#pair[@]} -gt 0 ] || $python -m mypy
# One worker per core. The tests of a file run on the same worker, because they share fixtures that are slow to make, and
# the files keep the order of tests/conftest.py. A worker that crashes is not replaced, because pytest-xdist would then wait
# forever.
parallel=(-n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0)
if [ -n "$quick" ]; then
  $python -m pytest -q -m "not slow" "${parallel[@]}" "${rest[@]}"
  exit
fi
$python -m pytest --durations=10 "${parallel[@]}" "${rest[@]}"
# The layers only use keras.ops, so the same tests must pass with the other backend of Keras.
KERAS_BACKEND=jax $python -m pytest -q "${parallel[@]}" tests/layers tests/modalities tests/test_model.py tests/jax_training "${rest[@]}"
