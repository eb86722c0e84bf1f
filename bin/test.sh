#!/usr/bin/env bash
# Sets up the environment, runs the linter and the tests, and passes other arguments to pytest.
#
#   bin/test.sh                                    all checks, with the newest supported Python and TensorFlow
#   bin/test.sh --quick                            the linter and the tests not marked slow; takes less than two minutes
#   bin/test.sh --python=3.11 --tensorflow=2.17    all checks, with the oldest supported versions
set -euo pipefail
cd -P "$(dirname "$0")/.."
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
# The tests of a file run on the same worker, because they share fixtures that are slow to make, and the files keep the order of
# tests/conftest.py. A worker that crashes is not replaced, because pytest-xdist would then wait forever.
parallel=(--dist loadfile --no-loadscope-reorder --max-worker-restart=0)
# Only with the default versions, because the type annotations of older numpy releases differ.
types() { [ ${#pair[@]} -gt 0 ] || $python -m mypy; }
if [ -n "$quick" ]; then
  types
  $python -m pytest -q -m "not slow" -n auto "${parallel[@]}" "${rest[@]}"
  exit
fi

# What the JAX run gets of the arguments: all but the paths that are not below its folders.
on_jax=(tests/layers tests/modalities tests/test_model.py tests/jax_training)
chosen=() options=() paths= previous=
for argument in "${rest[@]}"; do
  file=${argument%%::*}  # of tests/test_model.py::test_name
  if [[ $argument = -* || $previous = -[kmnpW] || ! -e $file ]]; then
    options+=("$argument")
  else
    paths=yes
    file=$(realpath "$file")
    for part in "${on_jax[@]}"; do
      if [[ $file/ = "$PWD/$part"/* ]]; then
        chosen+=("$argument")
      elif [[ $PWD/$part/ = "$file"/* ]]; then
        chosen+=("$part")
      fi
    done
  fi
  previous=$argument
done
[ -n "$paths" ] || chosen=("${on_jax[@]}")

# At the same time, because many of the tests below wait for a process or a server: mypy, and the tests of the layers with the
# other backend of Keras, which must pass because layers only use keras.ops. JAX compiles each operation for each shape, in half
# the time without the fusion emitters; a release that does not know this flag would end the process.
beside() {
  types
  [ ${#chosen[@]} -gt 0 ] || return 0
  flags="--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
  { XLA_FLAGS=$flags $python -c 'import jax; jax.devices()'; } 2>/dev/null || flags=${flags% *}
  # Exit status 5: the options select none of these tests, for instance with -k.
  KERAS_BACKEND=jax XLA_FLAGS=$flags $python -m pytest -q -n $((($(nproc) + 1) / 2)) "${parallel[@]}" \
    "${chosen[@]}" "${options[@]}" || [ $? -eq 5 ]
}
log=$(mktemp)
set -m  # a process group of its own, so that it can be ended as a whole
beside >"$log" 2>&1 &
set +m
other=$!
trap 'kill -- -$other 2>/dev/null || true; rm -f "$log"' EXIT

failed=
$python -m pytest --durations=10 -n auto "${parallel[@]}" "${rest[@]}" || failed=yes
wait $other || failed=yes
echo "Types, and the layers with the JAX backend:"
cat "$log"
[ -z "$failed" ]
