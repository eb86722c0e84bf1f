#!/usr/bin/env bash
# Sets everything up and runs the main job on the mini corpora: corpora, vocabulary, joint training of all eight
# problems, evaluation, samples. What is done already is skipped, and an interrupted training goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
export TF_CPP_MIN_LOG_LEVEL=2
run=runs/quickstart
gin=(--gin_file=gin/runs/joint_mini.gin --gin_file=gin/runs/quickstart.gin)

say() { printf '\n== %s\n' "$*"; }

say "1/5 Environment"
bin/setup_env.sh
python=.venv/bin/python

say "2/5 Mini corpora"
$python bin/make_mini.py --root=corpora/mini

say "3/5 Vocabulary"
if [ -e corpora/mini.model ]; then
  echo "corpora/mini.model is there already."
else
  $python bin/build_vocabulary.py --gin_file=gin/runs/joint_mini.gin --size=1200
fi

say "4/5 Joint training of eight problems"
$python bin/train.py "${gin[@]}" --model_dir="$run"

say "5/5 Evaluation"
$python bin/evaluate.py --model_dir="$run" --split=test --command="bash bin/quickstart.sh" "$@"

say "Done. Try your own:"
echo "$python bin/decode.py --model_dir=$run --problem=wmt_en_de --input=\"The small cat sleeps in the garden.\""
