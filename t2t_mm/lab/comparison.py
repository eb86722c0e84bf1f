"""Compares runs by their evaluations and learning curves, for instance fine-tuning with training from scratch."""

import json
import os
from collections.abc import Iterable, Sequence

from t2t_mm.common.errors import RunError
from t2t_mm.common.files import write_whole
from t2t_mm.evaluation.curves import curves
from t2t_mm.lab import svg
from t2t_mm.lab.results import circumstances, shown
from t2t_mm.lab.summary import judged

SPLITS = ("dev", "test", "own")  # own: files of one's own, which bin/evaluate.py --inputs evaluates


def read(model_dirs: Sequence[str], split: str) -> dict:
    """Returns what is compared of each run, by its folder.

    Args:
      split: one of `SPLITS`.

    Returns: a dict of folder -> {"results", "baselines": as in the file that `bin/evaluate.py` has written; "step";
      "minutes": the duration of training; "seed"; "dev": problem -> {step: nats per token}}.

    Raises:
      RunError: a run has not been evaluated on the split.
    """
    found = {}
    for model_dir in model_dirs:
        path = os.path.join(model_dir, f"evaluation_{split}.json")
        if not os.path.exists(path):
            on = "--problem=… --inputs=… --references=…" if split == "own" else f"--split={split}"
            raise RunError(f"{path}: no such file. Evaluate the run first: bin/evaluate.py --model_dir={model_dir} {on}")
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
            evaluated = {
                "results": record["results"], "baselines": record.get("baselines", {}), "step": record["step"],
                "minutes": record["training_minutes"], "seed": record["seed"],
            }  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: is damaged ({error!r}). Evaluate the run again with bin/evaluate.py.") from error
        found[model_dir] = evaluated | {"dev": curves(model_dir)["dev"]}
    return found


def page(record: dict) -> str:
    """Renders the record of a comparison as a Markdown page."""
    return f"Written by `{record['command']}` {circumstances(record)}\n\n{tables(record['results'], record['plots'])}"


def tables(runs: dict, plots: dict[str, str] | None = None) -> str:
    """Renders the result of `read` as Markdown: for each problem, a table with one row per run, and its plot, if any."""
    lines, labels = [], _labels(runs)
    for problem, names in _problems(runs).items():
        metric, higher = judged(runs[names[0]]["results"][problem])
        direction = "higher" if higher else "lower"
        lines += [
            f"## {problem}", "", f"{metric}: {direction} is better.", "",
            f"| run | updates | {metric} | baseline | nats per token | wholly right, % | minutes of training |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]  # fmt: skip
        for name in names:
            results, run = runs[name]["results"][problem], runs[name]
            baseline = run["baselines"].get(problem, {}).get(metric)
            cells = [
                labels[name], run["step"], results.get(metric, ""), "" if baseline is None else baseline,
                results.get("log_perplexity", ""), results.get("sequence_accuracy", ""), run["minutes"],
            ]  # fmt: skip
            lines.append(f"| {' | '.join(map(shown, cells))} |")
        if plots and problem in plots:
            lines += ["", f"![Nats per token on dev by update]({plots[problem]})"]
        lines.append("")
    return "\n".join(lines)


def write_plots(runs: dict, output: str) -> dict[str, str]:
    """Writes the dev curves of each problem next to the results at `output` (….json), and returns the names of the files."""
    written, labels = {}, _labels(runs)
    for problem, names in _problems(runs).items():
        series = [
            svg.Line(labels[name], [(float(step), nats, 0.0) for step, nats in dev.items()], svg.COLOURS[place % 4])
            for place, name in enumerate(names)
            if (dev := runs[name]["dev"].get(problem))
        ]
        if series:
            path = f"{output.removesuffix('.json')}_{problem}.svg"
            write_whole(path, svg.as_file(svg.lines(problem, series, "update", "nats per token (dev)")))
            written[problem] = os.path.basename(path)
    return written


def _labels(runs: Iterable[str]) -> dict[str, str]:
    """Returns the last parts of the path of each run, as many as are needed to tell all runs apart."""
    parts = {name: os.path.normpath(name).split(os.sep) for name in runs}
    for length in range(1, max(map(len, parts.values())) + 1):
        labels = {name: "/".join(some[-length:]) for name, some in parts.items()}
        if len(set(labels.values())) == len(labels):
            break
    return labels


def _problems(runs: dict) -> dict[str, list[str]]:
    """Returns the runs of each problem."""
    found: dict[str, list[str]] = {}
    for name, run in runs.items():
        for problem in run["results"]:
            found.setdefault(problem, []).append(name)
    return found
