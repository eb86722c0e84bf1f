"""Results as files: NAME.json with all that is needed to repeat the run, and NAME.md rendered from it."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence

from t2t_mm.run.files import write_json, write_whole

_PACKAGES = ("tensorflow", "jax", "keras", "sacrebleu", "jiwer")


def write_results(
    path: str,
    command: str,
    seed: int | Sequence[int],
    minutes: float,
    results: dict,
    render: Callable[[dict], str] | None = None,
    **more,
) -> dict:
    """Writes `path` (….json) and the page beside it (….md) -> the record that both are of.

    Args:
      command: what repeats the run. minutes: it took, training included.
      results: problem -> {metric: value}, or what `render` knows to print. more: further entries, for instance baselines
        in the form of results.
      render: makes the page of the whole record; by default a table.
    """
    record = {
        "command": command,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES if sys.modules.get(name)}
        | {"python": platform.python_version()},
        "seed": seed,
        "minutes": round(minutes, 1),
        "results": results,
        **more,
    }
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_json(path, record, indent=1)
    write_whole(path.removesuffix(".json") + ".md", (render or default_page)(record))
    return record


def _commit() -> str:
    """The commit of the checkout this code runs from, or "unknown" outside of one."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=folder, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return run.stdout.strip() or "unknown"


def table(results: dict, baselines: dict | None = None) -> str:
    """A Markdown table of case (a problem, say), metric and value; a column more where there are baselines."""
    if not baselines:
        lines = ["| case | metric | value |", "| --- | --- | ---: |"]
        lines += [
            f"| {case} | {metric} | {_shown(value)} |" for case, found in results.items() for metric, value in found.items()
        ]
        return "\n".join(lines) + "\n"
    lines = ["| problem | metric | value | baseline |", "| --- | --- | ---: | ---: |"]
    for problem, metrics in results.items():
        for metric, value in metrics.items():
            other = baselines.get(problem, {}).get(metric, "")
            lines.append(f"| {problem} | {metric} | {_shown(value)} | {_shown(other)} |")
    return "\n".join(lines) + "\n"


def _shown(value) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def circumstances(record: dict) -> str:
    """What follows "Written by COMMAND" on every page of a record: commit, date, cores, minutes, seeds and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    seed = record["seed"]
    seeds = f"seed {seed}" if isinstance(seed, int) else f"seeds {', '.join(map(str, seed))}"
    return (
        f"at commit {record['commit']} on {record['date']}: {record['cores']} cores, {record['minutes']} minutes, {seeds}; "
        f"{versions}."
    )


def default_page(record: dict) -> str:
    """The Markdown page of a record."""
    parts = [
        f"Written by `{record['command']}` {circumstances(record)}\n",
        table(record["results"], record.get("baselines")),
    ]
    parts += [f"**{problem}** was not evaluated: {reason}.\n" for problem, reason in record.get("failed", {}).items()]
    if record.get("training_loss"):
        parts.append(_losses(record["training_loss"]))
    for problem, samples in record.get("samples", {}).items():
        parts.append(f"**{problem}**\n")
        parts += ["\n".join(f"- {key}: {value}" for key, value in sample.items()) + "\n" for sample in samples]
    return "\n".join(parts)


def _losses(losses: dict) -> str:
    """A Markdown table of problem -> {step: training loss}, a column for each step."""
    steps = sorted({step for found in losses.values() for step in found})
    lines = [f"| training loss at step | {' | '.join(map(str, steps))} |", "| --- |" + " ---: |" * len(steps)]
    for problem, found in losses.items():
        shown = (_shown(found[step]) if step in found else "" for step in steps)
        lines.append(f"| {problem} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"
