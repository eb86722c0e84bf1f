#!/usr/bin/env bash
# Creates a virtual environment in the root of the checkout and installs the package into it, unless this has already
# been done.
#
#   bin/setup_env.sh [extra] [--python=X.Y] [--tensorflow=X.Y]
#
# extra: one of the extras in setup.py, for instance `test`. Without --python, the newest supported Python is used, and
# without --tensorflow, the newest TensorFlow. The environment is .venv, or a separate folder for chosen versions, such as
# .venv-3.11-2.17. With --print, the last line of the output is this folder.
set -euo pipefail
cd -P "$(dirname "$0")/.."
extra= version= tensorflow= print=
for argument in "$@"; do
  case $argument in
    --python=*) version=${argument#*=} ;;
    --tensorflow=*) tensorflow=${argument#*=} ;;
    --print) print=yes ;;
    --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' bin/setup_env.sh; exit ;;
    -*) echo "setup_env.sh: unknown argument $argument; use an extra, --python=X.Y, --tensorflow=X.Y or --print." >&2; exit 2 ;;
    *) extra=$argument ;;
  esac
done

python=
candidates=(python3.13 python3.12 python3.11 python3)
[ -z "$version" ] || candidates=("python$version" "$version")
for candidate in "${candidates[@]}"; do
  if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup_env.sh: no Python ${version:-3.11, 3.12 or 3.13} with the venv module on PATH; install one." >&2
  exit 1
fi
environment=.venv
if [ -n "$version$tensorflow" ]; then
  environment=.venv-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')${tensorflow:+-$tensorflow}
fi
if ! "$environment/bin/python" -c 'import pip' 2>/dev/null; then
  echo "Creating $environment with $python"
  "$python" -m venv --clear "$environment"
fi

# Without constraints, pip tries many releases of each package before it finds those compatible with an older TensorFlow.
constraints=()
if [ -n "$tensorflow" ]; then
  file=.ci/tensorflow-$tensorflow.txt
  if [ ! -e "$file" ]; then
    file=$environment/constraints.txt
    printf '%s\n' {tensorflow,tensorflow-text,tensorflow-serving-api,tensorboard}"==$tensorflow.*" >"$file"
  fi
  constraints=(--constraint "$file")
fi
# The folder belongs to the stamp, because the environment of a copied checkout would still import the package of the original.
state="$(cksum <setup.py) $PWD"
stamps=("$environment/installed${extra:+-$extra}")
# Each extra includes the package itself.
[ -n "$extra" ] || stamps+=("$environment"/installed-*)
if ! grep -qsxF -- "$state" "${stamps[@]}"; then
  echo "Installing t2t_mm${extra:+ [$extra]} and its dependencies into $environment (one to three minutes, 3 GB)"
  # Most modules are never imported.
  "$environment/bin/python" -m pip install --no-compile --quiet --disable-pip-version-check \
    "${constraints[@]}" -e ".${extra:+[$extra]}"
  # Those that most commands import are compiled now. Where PYTHONDONTWRITEBYTECODE is set, every command would compile them
  # again, which takes twice as long as the rest of its start.
  env -u PYTHONDONTWRITEBYTECODE "$environment/bin/python" - <<'IMPORTS'
import importlib, importlib.util

from t2t_mm.common import command

command.load_tensorflow()
for name in (
    "t2t_mm.training.loop", "t2t_mm.evaluation.evaluate", "t2t_mm.export.save", "t2t_mm.lab.results", "tensorflow_datasets",
    "tensorboard", "jax.numpy", "pytest", "hypothesis.strategies",
):
    if importlib.util.find_spec(name.split(".")[0]):
        importlib.import_module(name)
IMPORTS
  echo "$state" >"${stamps[0]}"
fi
[ -z "$print" ] || echo "$environment"
