#!/usr/bin/env bash
# Sets up the environment, lints, and runs the tests; further arguments go to pytest.
#
#   bin/test.sh                                    everything, on the newest supported Python and TensorFlow
#   bin/test.sh --quick                            under two minutes, before each commit: lint, and no test marked slow
#   bin/test.sh --python=3.11 --tensorflow=2.17    everything, on the oldest supported pair
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
# On the default pair alone: older releases of numpy annotate their functions otherwise.
[ ${#pair[@]} -gt 0 ] || $python -m mypy
# A worker each core; a file's tests stay together, because they share what is slow to make, and files in the order of
# tests/conftest.py. A worker that crashes is not replaced: pytest-xdist waits for ever then.
parallel=(-n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0)
if [ -n "$quick" ]; then
  $python -m pytest -q -m "not slow" "${parallel[@]}" "${rest[@]}"
  exit
fi
$python -m pytest --durations=10 "${parallel[@]}" "${rest[@]}"
# The layers are keras.ops alone: the same tests hold on Keras's other backend.
KERAS_BACKEND=jax $python -m pytest -q "${parallel[@]}" tests/layers tests/modalities tests/test_model.py "${rest[@]}"
