"""Lists what the experts of a trained model specialise in, as Shazeer et al. 2017 do for a translation model (Table 9).

For each mixture, problem and expert: its share of the gates, the tokens of which it gets the largest share, the quarters of the
sequence (of an image, the quarters of its area) and the classes. A gate counts as much as it weighs the expert's output.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.evaluation.evaluate import Evaluator
from t2t_mm.experiment import Experiment
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.lab.results import circumstances
from t2t_mm.losses import forward
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.folder import load_trained

LEAST = 5  # occurrences of a token or class, below which its share is left out as chance
LISTED = 8  # tokens or classes of each expert
_QUARTERS = {
    False: ("first quarter", "second quarter", "third quarter", "last quarter"),
    True: ("upper left", "upper right", "lower left", "lower right"),
}


@dataclasses.dataclass
class Gates:
    """The gates of one kind of things, such as tokens, in one mixture.

    Attributes:
      sums: thing -> the sum of the gates of each expert [E].
      counts: thing -> number of its positions.
    """

    sums: dict = dataclasses.field(default_factory=dict)
    counts: dict = dataclasses.field(default_factory=dict)

    def add(self, things: Iterable, gates: np.ndarray) -> None:
        """Adds positions: what each of them is, and its gates [positions, E]."""
        for thing, row in zip(things, gates, strict=True):
            self.sums[thing] = self.sums.get(thing, 0.0) + row
            self.counts[thing] = self.counts.get(thing, 0) + 1

    def shares(self, expert: int) -> dict:
        """Returns thing -> the mean share of its gates that goes to an expert, for things that are not rare, largest first."""
        found = {thing: self.sums[thing][expert] / n for thing, n in self.counts.items() if n >= LEAST}
        return dict(sorted(found.items(), key=lambda item: (-item[1], str(item[0]))))


def specialties(experiment: Experiment, model_dir: str, split: str = "dev", names: Sequence[str] = ()) -> dict:
    """Measures the gates of a trained model with teacher forcing.

    Args:
      names: problems. Default: all problems of the experiment.

    Returns:
      {"step", "seed", "mixtures"}, where "mixtures" is mixture ("encoder" or "decoder") -> problem -> one entry per expert:
      {"share": of all gates of the problem; "tokens", "places", "classes": [[thing, share of its gates, occurrences], …]}.

    Raises:
      RunError: a problem is unknown, there is no matching checkpoint, or the model has no mixture-of-experts.
      CorpusError: a corpus is missing, or its split has no usable example.
    """
    problems = [experiment.problem(name) for name in names] or list(experiment.problems)
    network, description, trained = load_trained(experiment, model_dir, problems)
    evaluator = Evaluator(experiment, network, description, None)
    mixtures: dict[str, dict] = {}
    for problem in problems:
        examples, report = evaluator.load(problem, split)
        classes = description["class_names"].get(problem.name)
        batches = evaluator.batches(problem, examples, report)
        for mixture, kinds in gates_of(network, problem, batches, evaluator.tokenizer, classes).items():
            mixtures.setdefault(mixture, {})[problem.name] = _listed(kinds)
    if not mixtures:
        raise RunError(f"{model_dir}: this model has no mixture-of-experts, so there are no experts to list.")
    return {"step": trained["step"], "seed": description["seed"], "mixtures": mixtures}


def gates_of(
    network: MultiModel, problem: Problem, batches: Iterable[dict], tokenizer: Tokenizer, classes: Sequence[str] | None
) -> dict[str, dict[str, Gates]]:
    """Returns mixture -> kind ("all", "tokens", "places", "classes") -> the gates of the problem.

    The tokens of the encoder are those of the input, if it is one text. Those of the decoder are the targets that its
    positions predict.
    """
    command = tf.constant(network.command_id(problem.command))

    @tf.function(reduce_retracing=True, autograph=False)
    def chosen(batch):
        _, balances, _ = forward(network, problem, batch, command, training=False)
        return {name: (*part["chosen"], part["importance"]) for name, part in balances.items()}

    found: dict[str, dict[str, Gates]] = {}
    for batch in batches:
        rows = batch["index"].numpy() >= 0  # the others only fill the batch
        targets = batch["targets"].numpy()
        for mixture, (weights, experts, importance) in chosen(batch).items():
            gates = np.zeros([len(weights), len(importance)])
            np.put_along_axis(gates, experts.numpy(), weights.numpy(), axis=1)
            gates = gates.reshape([len(rows), -1, len(importance)])  # [B, L, E]
            kinds = found.setdefault(mixture, {kind: Gates() for kind in ("all", "tokens", "places", "classes")})
            reads = mixture == "encoder" and problem.modality == "language"
            ids = batch["inputs"].numpy() if reads else targets if mixture == "decoder" and targets.ndim == 2 else None
            square = problem.modality == "image" and (mixture == "encoder" or problem.targets == "class")
            for row in np.flatnonzero(rows):
                used = np.flatnonzero(gates[row].sum(axis=-1) > 0)  # padding has no gates
                own = gates[row][used]
                kinds["all"].add([""] * len(used), own)
                kinds["places"].add(_places(used, gates.shape[1] if square else len(used), square), own)
                if ids is not None:
                    kinds["tokens"].add([tokenizer.processor.IdToPiece(int(i)) for i in ids[row][used]], own)
                if classes is not None:
                    kinds["classes"].add([classes[int(targets[row])]] * len(used), own)
    return found


def _places(positions: np.ndarray, length: int, square: bool) -> list[str]:
    """Returns the quarter in which each position lies: of an image's area if `square`, and otherwise of the sequence."""
    if not square:
        return [_QUARTERS[False][4 * place // length] for place in range(len(positions))]
    side = round(length**0.5)
    return [_QUARTERS[True][2 * (2 * (place // side) // side) + 2 * (place % side) // side] for place in positions]


def _listed(kinds: dict[str, Gates]) -> list[dict]:
    """Returns one entry per expert, see `specialties`."""
    total = kinds["all"].sums[""] / kinds["all"].counts[""]
    entries = []
    for expert, share in enumerate(total):
        entry: dict = {"share": round(float(share), 4)}
        for kind in ("tokens", "places", "classes"):
            shares = list(kinds[kind].shares(expert).items())[:LISTED]
            entry[kind] = [[thing, round(float(part), 4), kinds[kind].counts[thing]] for thing, part in shares]
        entries.append(entry)
    return entries


def page(record: dict) -> str:
    """Renders a record of `specialties` as a Markdown page."""
    lines = [
        f"Written by `{record['command']}` {circumstances(record)}",
        "",
        "Each position of a sequence divides its gates, which sum to 1, among the few experts that it has chosen. The lists "
        "state what share of the gates of a token, place or class goes to the expert, and in parentheses how often it occurs "
        f"(at least {LEAST} times). The tokens of the encoder are those that it reads, and those of the decoder are those that "
        "it predicts. "
        "Problems that give an expert less than its equal share of the gates are left out.",
    ]
    for mixture, problems in record["results"].items():
        number = len(next(iter(problems.values())))
        lines += ["", f"## {mixture.capitalize()}", "", "Share of the gates in %:", ""]
        lines.append("| problem | " + " | ".join(f"expert {expert}" for expert in range(number)) + " |")
        lines.append("| --- |" + " ---: |" * number)
        for problem, entries in problems.items():
            lines.append(f"| {problem} | " + " | ".join(f"{100 * entry['share']:.0f}" for entry in entries) + " |")
        for expert in range(number):
            lines += ["", f"### {mixture.capitalize()}, expert {expert}", ""]
            used = {problem: entries[expert] for problem, entries in problems.items() if entries[expert]["share"] * number >= 1}
            for problem, entry in sorted(used.items(), key=lambda item: -item[1]["share"]):
                lists = [_list(entry[kind]) for kind in ("tokens", "classes", "places") if entry[kind]]
                lines.append(f"- **{problem}**, {100 * entry['share']:.0f}%: " + "; ".join(lists))
            if not used:
                lines.append("No problem gives it its equal share.")
    return "\n".join(lines) + "\n"


def _list(things: list) -> str:
    return ", ".join(f"`{thing}` {100 * share:.0f}% ({count})" for thing, share, count in things)
