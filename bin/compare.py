"""Compares runs by the metrics of their evaluations and by their learning curves.

    python bin/evaluate.py --model_dir=runs/digits --split=test
    python bin/evaluate.py --model_dir=runs/digits_alone --split=test
    python bin/compare.py --model_dir=runs/digits --model_dir=runs/digits_alone --output=runs/digits.json

Each problem has a table with one row per run. --output also writes a page (.md) and a plot of the dev curves for each problem.
"""

from absl import flags

from t2t_mm.common import command

_MODEL_DIR = flags.DEFINE_multi_string("model_dir", None, "Folder of an evaluated run; repeat it for each run.", required=True)
_SPLIT = flags.DEFINE_enum(
    "split", "test", ["dev", "test", "own"],
    "Split on which the runs were evaluated; own: files of your own (bin/evaluate.py --inputs).",
)  # fmt: skip
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the comparison; a page (.md) is written next to it.")


def main(_):
    command.load_tensorflow()
    from t2t_mm.lab import comparison, results

    runs = comparison.read(_MODEL_DIR.value, _SPLIT.value)
    print(comparison.tables(runs))
    if not _OUTPUT.value:
        return
    minutes = sum(run["minutes"] for run in runs.values())
    plots = comparison.write_plots(runs, _OUTPUT.value)
    seeds = sorted({run["seed"] for run in runs.values()})
    more = {"split": _SPLIT.value, "plots": plots}
    results.write_results(_OUTPUT.value, command.line(), seeds, minutes, runs, comparison.page, **more)
    print(f"Written to {_OUTPUT.value}")


if __name__ == "__main__":
    command.run(main)
