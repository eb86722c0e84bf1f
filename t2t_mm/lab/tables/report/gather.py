"""Gathers the content of a report as one JSON-serializable dict, which contains everything that is shown."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from t2t_mm.common.errors import RunError
from t2t_mm.evaluation.curves import cosines
from t2t_mm.lab.tables import statistics
from t2t_mm.lab.tables.report.findings import findings
from t2t_mm.lab.tables.report.partners import partners
from t2t_mm.lab.tables.runs import Planned
from t2t_mm.lab.tables.scores import SPLITS
from t2t_mm.lab.tables.tables import CHANCE, COMMANDS, PAIRS, Cell, Comparison, ResultTable, curve_runs

COMPARED = ("log_perplexity", "token_accuracy", "sequence_accuracy")
_CURVES = ("joint", "alone")


class Scores:
    """The scores of the finished runs.

    Attributes:
      of_run: run -> the contents of `scores.json` of each finished seed.
      kept: run -> seed -> the same, with the digest of the run's configuration (see `Planned.keep`).
      missing: run -> the seeds that are not finished.

    Raises:
      RunError: two runs have different examples of the same split, which cannot be compared.
    """

    def __init__(self, plan: Sequence[Planned]):
        self.of_run: dict[str, list[dict]] = {}
        self.kept: dict[str, dict[str, dict]] = {}
        self.missing: dict[str, list[int]] = {}
        tokens: dict[tuple[str, str], tuple[Planned, list[float]]] = {}
        for planned in plan:
            found = planned.scores()
            if found is None:
                self.missing.setdefault(planned.run.name, []).append(planned.seed)
            else:
                # From the events and not from bin/score.py, so that earlier scores need not be made again.
                if planned.run.name == "joint" and "cosines" not in found and (measured := cosines(planned.weights)):
                    found = found | {"cosines": measured}
                _check_examples(planned, found, tokens)
                self.of_run.setdefault(planned.run.name, []).append(found)
                one = {"configuration": planned.digest, "device": planned.device()} | found
                self.kept.setdefault(planned.run.name, {})[str(planned.seed)] = one

    def figures(self, run: str, split: str, problem: str, metric: str) -> list[float]:
        """Returns a figure of every finished seed that has it."""
        if run == CHANCE:
            every = [one["baselines"][split] for scores in self.of_run.values() for one in scores]
            found = [baselines[problem] for baselines in every if problem in baselines][:1]
        else:
            found = [s["splits"][split].get(problem, {}).get("figures", {}) for s in self.of_run.get(run, ())]
        return [figures[metric] for figures in found if metric in figures]

    def examples(self, run: str, split: str, problem: str, figure: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns a teacher-forced figure as ratios of sums: (numerators, denominators) over the examples, per seed."""
        found = []
        for scores in self.of_run.get(run, ()):
            if problem in scores["splits"][split]:
                values = {k: np.asarray(v, float) for k, v in scores["splits"][split][problem]["examples"].items()}
                found.append({
                    "log_perplexity": (values["nats"], values["tokens"]),
                    "token_accuracy": (100 * values["right"], values["tokens"]),
                    "sequence_accuracy": (100.0 * (values["right"] == values["tokens"]), np.ones_like(values["tokens"])),
                }[figure])  # fmt: skip
        return found


def _check_examples(planned: Planned, scores: dict, tokens: dict[tuple[str, str], tuple[Planned, list[float]]]) -> None:
    """Checks that a run was scored on the same examples as those before, whose numbers of tokens are in `tokens`."""
    for split, problems in scores["splits"].items():
        for problem, found in problems.items():
            first, known = tokens.setdefault((split, problem), (planned, found["examples"]["tokens"]))
            if known != found["examples"]["tokens"]:
                raise RunError(
                    f"{problem}, {split}: {first.name} and {planned.name} were scored on different examples or with different "
                    "vocabularies. Leave out the report that --keep takes one of them from, or score them again."
                )


def gather(tables: Sequence[ResultTable], plan: Sequence[Planned], problems: Sequence[str]) -> dict:
    """Gathers the report of the tables from the finished runs of the plan.

    Args:
      problems: the problems of the joint run, in the order in which they are shown.
    """
    scores = Scores(plan)
    shown = [_table(table, scores) for table in tables]
    experts, runs = _experts(scores, problems), _runs(plan, scores)
    return {
        "findings": findings(shown, scores.examples, experts, runs),
        "tables": shown,
        "partners": partners(shown, [one.get("cosines", {}) for one in scores.of_run.get("joint", ())], problems),
        "parsing_curve": _parsing_curve(scores) if any(table.name == "curve" for table in tables) else [],
        "grid": _grid(scores) if any(table.name == "zero_shot" for table in tables) else [],
        "learning_curves": _learning_curves(scores, problems),
        "experts": experts,
        "samples": _samples(scores),
        "runs": runs,
        "missing": scores.missing,
        "scores": scores.kept,
    }


def _spread(values: list[float]) -> dict | None:
    return dataclasses.asdict(statistics.spread(values)) | {"values": values} if values else None


def _cell(cell: Cell | float, scores: Scores) -> dict:
    if not isinstance(cell, Cell):
        return {"paper": cell}
    found = {split: _spread(scores.figures(cell.run, split, cell.problem, cell.metric)) for split in SPLITS}
    return dataclasses.asdict(cell) | found


def _table(table: ResultTable, scores: Scores) -> dict:
    found = [result for comparison in table.comparisons for result in _compared(comparison, scores)]
    for metric in COMPARED:  # Holm's correction is over all tests of one figure in one table
        family = [result for result in found if result["metric"] == metric]
        for result, held in zip(family, statistics.beyond_noise([result["p"] for result in family])):
            result["beyond_noise"] = held
    return {
        "name": table.name, "title": table.title, "note": table.note, "columns": list(table.columns),
        "rows": [{"label": label, "cells": [_cell(cell, scores) for cell in cells]} for label, cells in table.rows],
        "comparisons": found,
    }  # fmt: skip


def _compared(comparison: Comparison, scores: Scores) -> list[dict]:
    found = []
    lengths = [tokens for _, tokens in scores.examples(comparison.run, "dev", comparison.problem, "token_accuracy")]
    for metric in COMPARED:
        if metric == "sequence_accuracy" and all(np.all(tokens == 1) for tokens in lengths):
            continue  # for a class label, it equals token accuracy
        sides = [scores.examples(run, "dev", comparison.problem, metric) for run in (comparison.run, comparison.other)]
        if all(sides):
            first, second = sides
            result = statistics.paired_difference(first, second)
            found.append(dataclasses.asdict(comparison) | {"metric": metric} | dataclasses.asdict(result))
    return found


def _parsing_curve(scores: Scores) -> list[dict]:
    found = []
    for label, suffix in curve_runs():
        for name, run in (("joint", f"joint{suffix}"), ("alone", f"alone_wsj_parsing{suffix}")):
            dev = _spread(scores.figures(run, "dev", "wsj_parsing", "log_perplexity"))
            whole = _spread(scores.figures(run, "dev", "wsj_parsing", "sequence_accuracy"))
            if dev:
                trees = int(label.split()[0].replace(",", ""))
                found.append({"trees": trees, "run": name, "log_perplexity": dev, "sequence_accuracy": whole})
    return found


def _grid(scores: Scores) -> list[dict]:
    """Returns the accuracy of every pair of input and command that has references, trained or zero-shot."""
    found = []
    for modality, commands in COMMANDS.items():
        for command, problem in commands.items():
            run = "zero_shot" if problem in PAIRS else "joint"
            dev = _spread(scores.figures(run, "dev", problem, "token_accuracy"))
            found.append({"input": modality, "command": command, "problem": problem, "trained": run == "joint", "dev": dev})
    return found


def _learning_curves(scores: Scores, problems: Sequence[str]) -> dict:
    """Returns problem -> [{"run", "split", "points": [[step, mean over the seeds], …]}] of joint and single runs."""
    found: dict[str, list] = {}
    for problem in problems:
        for name, run in zip(_CURVES, ("joint", f"alone_{problem}")):
            for split in ("train", "dev"):
                by_step: dict[int, list[float]] = {}
                for one in scores.of_run.get(run, ()):
                    for step, value in one["curves"][split].get(problem, ()):
                        by_step.setdefault(step, []).append(value)
                if by_step:
                    points = [[step, float(np.mean(values))] for step, values in sorted(by_step.items())]
                    found.setdefault(problem, []).append({"run": name, "split": split, "points": points})
    return found


def _experts(scores: Scores, problems: Sequence[str]) -> dict:
    """Returns mixture -> {"shares": problem -> [E], "overlap": problem -> problem -> spread over the seeds}.

    The shares are those of the first seed: experts of different seeds do not correspond to each other, so that only
    overlaps can be averaged over seeds.
    """
    found: dict[str, dict] = {}
    for position, one in enumerate(scores.of_run.get("joint", ())):
        dev = {problem: one["splits"]["dev"][problem] for problem in problems if problem in one["splits"]["dev"]}
        for mixture in dict.fromkeys(name for record in dev.values() for name in record["experts"]):
            # A class that is read from the encoder does not use the decoder.
            using = {problem: record["experts"] for problem, record in dev.items() if mixture in record["experts"]}
            gates = {problem: np.asarray(experts[mixture]) for problem, experts in using.items()}
            here = found.setdefault(mixture, {"shares": {}, "overlap": {}})
            for problem, values in gates.items():
                if position == 0:
                    here["shares"][problem] = [float(share) for share in values / values.sum()]
                for other, theirs in gates.items():
                    row = here["overlap"].setdefault(problem, {})
                    row.setdefault(other, []).append(statistics.overlap(values, theirs))
    for here in found.values():
        here["overlap"] = {
            problem: {other: _spread(values) for other, values in row.items()} for problem, row in here["overlap"].items()
        }
    return found


def _samples(scores: Scores) -> dict:
    """Returns run -> problem -> dev samples of the first seed, for the joint, zero-shot and fine-tuned runs."""
    runs = ["joint", "zero_shot", *(f"tuned_{name}" for name in PAIRS)]
    return {
        run: {problem: record["samples"] for problem, record in scores.of_run[run][0]["splits"]["dev"].items()}
        for run in runs
        if run in scores.of_run
    }


def _runs(plan: Sequence[Planned], scores: Scores) -> dict:
    """Returns run -> what the table of runs shows.

    "steps" is the largest number of training steps, and "best_step" the mean step of the checkpoints that were scored;
    "minutes" is the time of training up to these, for all seeds together, and "gin" the run's own settings.
    """
    found = {}
    for planned in plan:
        run = planned.run
        if run.name in found or run.name not in scores.of_run:
            continue
        ours = scores.of_run[run.name]
        own = [*run.gin_files, *run.bindings, *(f"only {', '.join(run.only)}" for _ in range(bool(run.only)))]
        found[run.name] = {
            "steps": planned.steps,
            "best_step": float(np.mean([one["step"] for one in ours])),
            "seeds": len(ours),
            "minutes": round(sum(one["training_seconds"] for one in ours) / 60, 1) if run.trained else 0.0,
            "parameters": sum(ours[0]["parameters"].values()),
            "device": " and ".join(dict.fromkeys(one["device"] for one in scores.kept[run.name].values())),
            "gin": "; ".join(own),
            "init_from": run.init_from or "",
        }
    return found
