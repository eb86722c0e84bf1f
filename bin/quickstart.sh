#!/usr/bin/env bash
# Sets up the environment and runs the main job on the mini corpora: corpora, vocabulary, joint training of all eight
# problems, evaluation, samples and an export. Finished steps are skipped, and interrupted training resumes.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  [ "$1" = --help ] || [ "$1" = -h ] || { echo "quickstart.sh: takes no arguments, but got $1." >&2; exit 2; }
  sed -n '2,/^set /{/^# /s/^# //p}' bin/quickstart.sh
  echo "It takes no arguments. The commands that it runs have flags: python bin/train.py --help, bin/evaluate.py --help."
  exit
fi
run=runs/quickstart
gin=(--gin_file=gin/runs/joint_mini.gin --gin_file=gin/runs/quickstart.gin)

say() { printf '\n== %s\n' "$*"; }

# The stages. Each command shows its own progress: a bar with the time left on a terminal, otherwise lines.
stages=6 number=0
stage() { number=$((number + 1)); say "[$number/$stages] $*"; }

stage "Environment (one to three minutes the first time)"
bin/setup_env.sh
python=.venv/bin/python

stage "Mini corpora (about one minute)"
$python bin/make_mini.py --root=corpora/mini

stage "Vocabulary (a few seconds)"
if [ -e corpora/mini.model ]; then
  echo "corpora/mini.model already exists."
else
  $python bin/build_vocabulary.py --gin_file=gin/runs/joint_mini.gin --size=1200
fi

stage "Joint training of eight problems (about eight minutes; each line shows the minutes left)"
$python bin/train.py "${gin[@]}" --model_dir="$run"

# Evaluation and export only need the checkpoint, so they run at the same time and share the cores.
export TF_NUM_INTRAOP_THREADS=$((($(nproc) + 1) / 2))
exported=0
newest=$(ls -dt "$run"/export/[1-9]* 2>/dev/null | head -n 1 || true)
if [ -z "$newest" ] || [ ! "$newest" -nt "$run/checkpoints" ]; then
  $python bin/export.py --model_dir="$run" --export_dir="$run/export" --norun_warmup >"$run/export.log" 2>&1 &
  exported=$!
  trap 'kill "$exported" 2>/dev/null || true' EXIT
fi

stage "Evaluation with beam search and samples (about two minutes; the export runs at the same time)"
# A problem that could not be evaluated, for instance for lack of memory, is in the results under "failed".
evaluated() {
  [ "$run/evaluation_test.txt" -nt "$run/checkpoints" ] &&
    $python -c 'import json, sys; sys.exit(bool(json.load(open(sys.argv[1]))["failed"]))' "$run/evaluation_test.json"
}
if evaluated; then
  echo "$run/evaluation_test.txt already exists."
else
  $python bin/evaluate.py --model_dir="$run" --split=test --beam_size=4 --command="bash bin/quickstart.sh" >/dev/null
fi

stage "Export (a few seconds, if it has not finished yet)"
if [ "$exported" = 0 ]; then
  echo "$newest already exists."
elif ! wait "$exported"; then
  cat "$run/export.log" >&2
  exit 1
else
  tail -n 2 "$run/export.log"
fi
trap - EXIT

say "Results on the test sets (all metrics and samples: $run/evaluation_test.md)"
cat "$run/evaluation_test.txt"

# Estimate the time of the longer run from the time of a step in this run.
longer=$(sed -n 's/^steps = //p' gin/runs/joint_mini.gin)
minutes=$($python - "$run/evaluation_test.json" "$longer" <<'PYTHON'
import json, sys
record = json.load(open(sys.argv[1]))
print(round(record["training_minutes"] / max(record["step"], 1) * int(sys.argv[2])))
PYTHON
)
say "Next steps"
cat <<TEXT
Try the model:
  $python bin/decode.py --model_dir=$run --problem=wmt_en_de --input="The small cat sleeps in the garden."
Try every problem in the browser, at http://localhost:8501/:
  bin/setup_env.sh serve && $python bin/serve.py --export_dir=$run/export
Train a better model ($longer steps, about $minutes minutes on this machine):
  $python bin/train.py --gin_file=gin/runs/joint_mini.gin --gin_file=gin/problems/constituents.gin --model_dir=runs/joint_mini
TEXT
