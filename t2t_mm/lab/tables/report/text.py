"""Renders the Markdown report."""

from collections.abc import Sequence

from t2t_mm.lab.results import circumstances
from t2t_mm.lab.tables.report import findings, partners
from t2t_mm.lab.tables.report.figures import number, paper, significance, with_spread
from t2t_mm.lab.tables.tables import metric_name

LEGEND = (
    "The figures are means ± standard deviations over the seeds (one seed has no deviation) on the dev sets; those on "
    "the test sets are in parentheses, and those of the paper, which has other corpora and sizes, in brackets. "
    "Log-perplexity is in nats per token; accuracies, BLEU, F1 and WER are in percent."
)
TEST = (
    "Differences of teacher-forced figures on dev, by paired bootstrap over examples and seeds (10,000 draws; Koehn "
    "2004; Rao and Wu 1988): the 95% interval, and whether the difference is beyond noise at the 5% level after Holm's "
    "correction for all comparisons of the same figure in the table. With one seed on a side, the interval does not "
    "include the variation between seeds."
)

RUNS = (
    "Steps is the largest number of updates. A run that is evaluated during training ends earlier if the evaluations do not "
    "improve any more (`settings.Evaluation.patience`), and is scored with its best checkpoint: the table shows the mean of "
    "its step over the seeds, and the minutes of training up to it. Runs that were trained in lanes on an accelerator (docs/"
    "accelerators.md) share their minutes equally."
)


def left_out(missing: dict[str, list[int]]) -> str:
    """Returns a sentence that lists the unfinished seeds of each run, with runs that lack the same seeds together."""
    runs: dict[tuple[int, ...], list[str]] = {}
    for run, seeds in missing.items():
        runs.setdefault(tuple(seeds), []).append(run)
    parts = [
        f"seed{'s' * (len(seeds) > 1)} {_listed(list(map(str, seeds)))} of {', '.join(names)}" for seeds, names in runs.items()
    ]
    return f"These runs are not finished and therefore left out: {'; '.join(parts)}."


def _listed(words: Sequence[str]) -> str:
    """Returns "a", "a and b" or "a, b and c"."""
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), words[-1]])


def markdown(record: dict) -> str:
    """Renders a record of `results.write_results`, whose results come from `gather`, as a Markdown page."""
    found = record["results"]
    lines = ["# The paper's tables", "", f"Written by `{record['command']}` {circumstances(record)}", "", LEGEND, ""]
    if found["missing"]:
        lines += [left_out(found["missing"]), ""]
    lines += ["## Findings", "", *findings.markdown(found["findings"])]
    for table in found["tables"]:
        lines += _table(table)
        if table["name"] == "zero_shot":
            lines += _grid(found["grid"])
        if table["name"] == "pairs":
            lines += partners.markdown(found["partners"])
    lines += _experts(found["experts"])
    lines += [
        "## Runs",
        "",
        RUNS,
        "",
        "| run | steps | scored at step | seeds | training minutes | trained on | parameters | own settings |",
    ]
    lines += ["| --- | ---: | ---: | ---: | ---: | --- | ---: | --- |"]
    lines += [
        f"| {name} | {run['steps']} | {run['best_step']:.0f} | {run['seeds']} | {run['minutes']} "
        f"| {run['device']} | {run['parameters']:,} "
        f"| {run['gin']} |"
        for name, run in found["runs"].items()
    ]
    lines += ["", "## Samples", ""]
    for run, problems in found["samples"].items():
        for problem, samples in problems.items():
            for sample in samples[:1]:
                lines += [f"**{run}, {problem}**", "", *(f"- {key}: {value}" for key, value in sample.items()), ""]
    return "\n".join(lines)


def heading(table: dict) -> str:
    """Returns the heading of a table; those of the paper keep their number."""
    return f"Table {table['name']}: {table['title']}" if table["name"].isdigit() else table["title"]


def _table(table: dict) -> list[str]:
    lines = [f"## {heading(table)}", "", *([table["note"], ""] if table["note"] else [])]
    lines += [f"| | {' | '.join(table['columns'])} |", f"| --- |{' ---: |' * len(table['columns'])}"]
    lines += [f"| {row['label']} | {' | '.join(cell(each) for each in row['cells'])} |" for row in table["rows"]]
    if table["comparisons"]:
        lines += ["", TEST, "", "| claim | problem | figure | difference | 95% interval | p | examples | |"]
        lines += ["| --- | --- | --- | ---: | ---: | ---: | ---: | --- |"]
        for result in table["comparisons"]:
            metric = result["metric"]
            low, high = (number(result[bound], metric) for bound in ("low", "high"))
            lines.append(
                f"| {result['claim']} | {result['problem']} | {metric_name(metric)} | {number(result['difference'], metric)} "
                f"| {low} to {high} | {result['p']:.4f} | {result['examples']} | {significance(result)} |"
            )
    return [*lines, ""]


GRID = "Accuracy of the joint run on dev for every pair of input and command."


def grid_cell(found: dict) -> tuple[str, str]:
    """Returns (figure, "trained" or "zero-shot") for one input with one command."""
    return with_spread(found["dev"], "token_accuracy"), "trained" if found["trained"] else "zero-shot"


def _grid(cells: list[dict]) -> list[str]:
    commands = list(dict.fromkeys(found["command"] for found in cells))
    of = {(found["input"], found["command"]): "{} ({})".format(*grid_cell(found)) for found in cells}
    lines = [GRID, "", f"| | {' | '.join(commands)} |", f"| --- |{' ---: |' * len(commands)}"]
    for modality in dict.fromkeys(found["input"] for found in cells):
        lines.append(f"| {modality} | {' | '.join(of.get((modality, command), '–') for command in commands)} |")
    return [*lines, ""]


def cell(found: dict) -> str:
    """Formats a cell as dev (test) [paper] on one line."""
    if "metric" not in found:
        return f"[{paper(found['paper'])}]"
    shown = with_spread(found["dev"], found["metric"])
    if found["test"]:
        shown += f" ({with_spread(found['test'], found['metric'])})"
    return shown + (f" [{paper(found['paper'])}]" if found["paper"] is not None else "")


def _experts(experts: dict) -> list[str]:
    lines = []
    for mixture, found in experts.items():
        problems = list(found["overlap"])
        lines += [
            f"## Experts of the {mixture}", "",
            "The overlap of two problems on dev, from 0 to 1: the fraction of their gates that goes to the same "
            "experts (mean over the seeds).", "",
            f"| | {' | '.join(problems)} |", f"| --- |{' ---: |' * len(problems)}",
        ]  # fmt: skip
        lines += [f"| {problem} | {_overlaps(row, problems)} |" for problem, row in found["overlap"].items()]
        lines.append("")
    return lines


def _overlaps(row: dict, problems: list[str]) -> str:
    return " | ".join(f"{row[other]['mean']:.2f}" for other in problems)
