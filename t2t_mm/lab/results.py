"""Writes results to NAME.json, with everything that is needed to repeat the run, and renders NAME.md from it."""

import datetime
import functools
import importlib.metadata
import itertools
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from t2t_mm.common.files import write_json, write_whole

_PACKAGES = ("tensorflow", "jax", "keras", "sacrebleu", "jiwer")


def write_results(
    path: str,
    command: str,
    seed: int | Sequence[int],
    minutes: float,
    results: dict,
    render: Callable[[dict], str] | None = None,
    **more: Any,
) -> dict:
    """Writes the record to `path` (….json) and its page next to it (….md), and returns the record.

    Args:
      command: the command line that repeats the run.
      minutes: duration of the run, including training.
      results: problem -> {metric: value}, or any structure that `render` can print.
      render: turns the record into a Markdown page. Default: `default_page`.
      more: further entries of the record, for instance `baselines`, which has the same structure as `results`.
    """
    record = {
        "command": command,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "processor": processor(),
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


def processor() -> str:
    """Returns the name of the processor, and instructions that change times by a factor of two: AVX-512, AMX (bfloat16)."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in reversed(lines) if ":" in line)
    found = {name.strip(): value.strip() for name, value in pairs}
    flags = found.get("flags", "").split()
    has = [f"{'with' if flag in flags else 'without'} {name}" for name, flag in (("AVX-512", "avx512f"), ("AMX", "amx_bf16"))]
    return f"{found.get('model name', platform.machine())} {' and '.join(has)}"


@functools.cache  # because after the first results have been written, the checkout would count as modified
def _commit() -> str:
    """Returns the commit of the checkout that this code runs from, or "unknown" outside a checkout."""
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # Git does not look above the folder that contains the package: a wheel may be installed inside another repository.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": os.path.dirname(top)}
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=top, env=environment, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return run.stdout.strip() or "unknown"


_MOST_COLUMNS = 9


def table(results: dict) -> str:
    """Renders {case: {metric: value}} as Markdown tables.

    Successive cases with the same metrics share a table with one row per case and one column per metric. A case with more
    metrics than fit across a page has a table of its own, with one row per metric.
    """
    tables = []
    for metrics, cases in itertools.groupby(results, lambda case: tuple(results[case])):
        if len(metrics) > _MOST_COLUMNS:
            for case in cases:
                rows = [f"| {metric} | {shown(value)} |" for metric, value in results[case].items()]
                tables.append([f"| {case} | value |", "| --- | ---: |", *rows])
        else:
            rows = [f"| {' | '.join([case, *map(shown, results[case].values())])} |" for case in cases]
            tables.append([f"| {' | '.join(['case', *metrics])} |", "| --- |" + " ---: |" * len(metrics), *rows])
    return "\n\n".join("\n".join(lines) for lines in tables) + "\n"


def shown(value: Any) -> str:
    """Renders a value of a table: two decimals, or two digits of what is smaller."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def circumstances(record: dict) -> str:
    """Returns what follows "Written by COMMAND" on a page: commit, date, cores, minutes, seeds and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    seed, name = record["seed"], record.get("processor", "processor unknown")
    every = [seed] if isinstance(seed, int) else list(seed)
    seeds = f"seed{'s' * (len(every) > 1)} {', '.join(map(str, every))}"
    return (
        f"at commit {record['commit']} on {record['date']}: {record['cores']} cores ({name}), {record['minutes']} minutes, "
        f"{seeds}; {versions}."
    )


def default_page(record: dict) -> str:
    """Renders a record as a Markdown page. Evaluations have a page of their own, `t2t_mm.lab.summary.page`."""
    return f"Written by `{record['command']}` {circumstances(record)}\n\n{table(record['results'])}"
