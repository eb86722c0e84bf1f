"""Summarises an evaluation with one row per problem, as text with an answer to each kind of input, and as a page."""

from t2t_mm.lab.results import circumstances, shown
from t2t_mm.spelling import whole_minutes

# The usual main metric of a problem, and whether higher is better. The first metric that the problem has is used.
_JUDGED_BY = (
    ("wer", False), ("f1", True), ("cider", True), ("top1", True), ("bleu", True), ("exact_match", True),
)  # fmt: skip
_KINDS = (
    ("wsj_speech", "A recording, transcribed"), ("imagenet", "An image, classified"),
    ("coco", "An image, described"), ("wsj_parsing", "A sentence, parsed"), ("wmt_en_de", "A sentence, translated"),
)  # fmt: skip


def judged(metrics: dict) -> tuple[str, bool]:
    """Returns the main metric of a problem, and whether higher is better."""
    for name, higher in _JUDGED_BY:
        if name in metrics:
            return name, higher
    return "log_perplexity", False


def rows(record: dict) -> list[tuple[str, str, float, float | None, bool | None]]:
    """Returns (problem, metric, value, baseline, whether the value is better) of each problem that has results."""
    found = []
    for problem, metrics in record["results"].items():
        metric, higher = judged(metrics)
        if metric not in metrics:  # none of its examples is usable
            continue
        value, baseline = metrics[metric], record.get("baselines", {}).get(problem, {}).get(metric)
        better = None if baseline is None else (value > baseline if higher else value < baseline)
        found.append((problem, metric, value, baseline, better))
    return found


def table(record: dict) -> str:
    """Returns the rows as aligned text."""
    verdicts = {True: "better", False: "not yet better", None: ""}
    lines = [f"{'problem':14} {'metric':16} {'model':>8} {'baseline':>9}  verdict"]
    for problem, metric, value, baseline, better in rows(record):
        direction = "higher is better" if dict(_JUDGED_BY).get(metric) else "lower is better"
        other = "" if baseline is None else f"{baseline:.2f}"
        judged_so = f"{verdicts[better]} ({direction})".strip()
        lines.append(f"{problem:14} {metric:16} {value:8.2f} {other:>9}  {judged_so}")
    lines += [f"{problem:14} not evaluated: {reason}" for problem, reason in record.get("failed", {}).items()]
    return "\n".join(lines)


def verdict(record: dict) -> str:
    """Returns a sentence that states on how many problems the model beats the trivial baseline."""
    compared = [row for row in rows(record) if row[4] is not None]
    if not compared:
        return "No baselines were computed, so there is nothing to compare these figures with."
    better = sum(bool(row[4]) for row in compared)
    return (
        f"Trained for {record['step']} steps ({whole_minutes(record['training_minutes'])}), the model beats the trivial "
        f"baseline on {better} of {len(compared)} problems."
    )


def answers(record: dict) -> str:
    """Returns one sample for each kind of input, with the path if the input is a file."""
    blocks = []
    for problem, title in _KINDS:
        for sample in record.get("samples", {}).get(problem, ())[:1]:
            lines = [f"{title} ({problem})", *(f"  {key + ':':8} {value}" for key, value in sample.items())]
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def summary(record: dict) -> str:
    """Returns the table, the verdict and the answers."""
    return "\n\n".join(part for part in (table(record), verdict(record), answers(record)) if part) + "\n"


# Metrics that have separate columns on the page, because every problem has them.
_COMMON = {
    "log_perplexity": "nats per token", "token_accuracy": "correct tokens, %", "sequence_accuracy": "correct sequences, %",
}  # fmt: skip


def page(record: dict) -> str:
    """Returns the record of an evaluation as a Markdown page with metrics, training losses and samples."""
    parts = [f"Written by `{record['command']}` {circumstances(record)}\n", _figures(record)]
    parts += [f"**{problem}** was not evaluated: {reason}.\n" for problem, reason in record.get("failed", {}).items()]
    if record.get("training_loss"):
        parts.append(_losses(record["training_loss"]))
    if record.get("gradient_cosines"):
        parts.append(_cosines(record["gradient_cosines"]))
    for problem, samples in record.get("samples", {}).items():
        parts.append(f"**{problem}**\n")
        parts += ["\n".join(f"- {key}: {value}" for key, value in sample.items()) + "\n" for sample in samples]
    return "\n".join(parts)


def _figures(record: dict) -> str:
    """Returns a table with a row for each problem: its main metric and the baseline, then all other metrics."""
    head = ["problem", "judged by", "model", "baseline", *_COMMON.values(), "examples", "further figures (baseline)"]
    lines = [_row(head), "| --- | --- |" + " ---: |" * (len(head) - 3) + " --- |"]
    chosen = {problem: row for problem, *row in rows(record)}
    for problem, metrics in record["results"].items():
        metric, value, baseline, _ = chosen.get(problem, ("", None, None, None))
        further = [
            f"{name} {_given(figure)}{_beside(record, problem, name)}"
            for name, figure in metrics.items()
            if name not in (metric, "examples", "token_top5", *_COMMON)
        ]
        common = (metrics.get(name) for name in _COMMON)
        cells = (metric, value, baseline, *common, metrics.get("examples"))
        lines.append(_row([problem, *("" if cell is None else shown(cell) for cell in cells), ", ".join(further)]))
    return "\n".join(lines) + "\n"


def _given(figure) -> str:
    return f"`{figure}`".replace("|", " ") if isinstance(figure, str) else shown(figure)


def _beside(record: dict, problem: str, name: str) -> str:
    baseline = record.get("baselines", {}).get(problem, {}).get(name)
    return "" if baseline is None or isinstance(baseline, str) else f" ({shown(baseline)})"


def _row(cells) -> str:
    return f"| {' | '.join(cells)} |"


def _losses(losses: dict) -> str:
    """Returns problem -> {step: training loss} as a table with one column for each step."""
    steps = sorted({step for found in losses.values() for step in found}, key=int)  # they are strings in JSON
    lines = [_row(["training loss at step", *map(str, steps)]), "| --- |" + " ---: |" * len(steps)]
    for problem, found in losses.items():
        lines.append(_row([problem, *(shown(found[step]) if step in found else "" for step in steps)]))
    return "\n".join(lines) + "\n"


def _cosines(cosines: dict) -> str:
    """Returns {problem: {other problem: cosine}} as a matrix."""
    names = list(cosines)
    lines = [
        "Mean cosine between the gradients of two problems on the weights that both use. Above 0, a step for one problem also "
        "reduces the loss of the other; below 0, it increases it.\n",
        _row(["", *names]), "| --- |" + " ---: |" * len(names),
    ]  # fmt: skip
    for name in names:
        lines.append(_row([name, *(f"{cosines[name][other]:.2f}" if other in cosines[name] else "" for other in names)]))
    return "\n".join(lines) + "\n"
