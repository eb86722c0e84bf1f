#!/usr/bin/env bash
# Sets everything up and runs the main job on the mini corpora: corpora, vocabulary, joint training of all eight
# problems, evaluation, samples, an export. What is done already is skipped, and an interrupted training goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
export TF_CPP_MIN_LOG_LEVEL=2
run=runs/quickstart
gin=(--gin_file=gin/runs/joint_mini.gin --gin_file=gin/runs/quickstart.gin)

say() { printf '\n== %s\n' "$*"; }

say "1/6 Environment"
bin/setup_env.sh
python=.venv/bin/python

say "2/6 Mini corpora"
$python bin/make_mini.py --root=corpora/mini

say "3/6 Vocabulary"
if [ -e corpora/mini.model ]; then
  echo "corpora/mini.model is there already."
else
  $python bin/build_vocabulary.py --gin_file=gin/runs/joint_mini.gin --size=1200
fi

say "4/6 Joint training of eight problems"
$python bin/train.py "${gin[@]}" --model_dir="$run"

say "5/6 Evaluation"
if [ $# -eq 0 ] && [ "$run/evaluation_test.json" -nt "$run/checkpoints" ]; then
  echo "$run/evaluation_test.json is there already:"
  cat "$run/evaluation_test.md"
else
  $python bin/evaluate.py --model_dir="$run" --split=test --command="bash bin/quickstart.sh" "$@"
fi

say "6/6 Export"
newest=$(ls -dt "$run"/export/[1-9]* 2>/dev/null | head -n 1 || true)
if [ -n "$newest" ] && [ "$newest" -nt "$run/checkpoints" ]; then
  echo "$newest is there already."
else
  $python bin/export.py --model_dir="$run" --export_dir="$run/export" --norun_warmup
fi

say "Done. Try your own:"
echo "$python bin/decode.py --model_dir=$run --problem=wmt_en_de --input=\"The small cat sleeps in the garden.\""
