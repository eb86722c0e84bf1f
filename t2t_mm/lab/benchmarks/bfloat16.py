"""Compares training in mixed precision with float32: the time of a step, and the figures that the same run reaches."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import keras
import numpy as np

from t2t_mm.common import config
from t2t_mm.common.errors import RunError
from t2t_mm.common.files import write_json
from t2t_mm.corpora.example import Report
from t2t_mm.evaluation.evaluate import TeacherForced
from t2t_mm.experiment import Experiment
from t2t_mm.input.pipeline import load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.lab.benchmarks.timing import matmul_peak, seconds
from t2t_mm.lab.benchmarks.train import Translation, open_streams, train_step, translation_batch, translation_step
from t2t_mm.model import MultiModel
from t2t_mm.run.precision import PRECISIONS, layers_of
from t2t_mm.training import loop
from t2t_mm.training.schedule import InverseSquareRoot
from t2t_mm.training.settings import Checkpointing, Numerics

_FIGURES = "figures.json"


@dataclasses.dataclass(frozen=True)
class Training:
    """The training that is run in both precisions.

    Attributes:
      steps: steps of each training.
      examples: number of examples to evaluate, the first of each dev set.
    """

    experiment: Experiment
    steps: int = 100
    examples: int = 64
    schedule: Callable = InverseSquareRoot

    def __call__(self, precision: str, seed: int, model_dir: str) -> None:
        """Trains a model and writes its figures on the dev sets, computed in float32, to the folder."""
        trained = loop.train(
            self.experiment, model_dir, self.steps, self.schedule, seed=seed,
            checkpointing=Checkpointing(every_steps=50, keep=1), numerics=Numerics(precision=precision),
        )  # fmt: skip
        write_json(os.path.join(model_dir, _FIGURES), _dev_figures(self.experiment, self.examples, trained))


def run(
    training: Training,
    folder: str,
    seeds: Sequence[int] = (0, 1, 2),
    translation: Translation = Translation(),
    depth: int = 512,
    sized: type[MultiModel] = MultiModel,
    repeats: int = 5,
) -> dict[str, dict[str, float]]:
    """Times steps in both precisions, then trains in each of them with every seed, each training in its own process.

    A finished training leaves its figures in `folder`, and an interrupted one its checkpoints. The same command
    therefore resumes where the last one stopped.

    Args:
      folder: parent folder of the trainings.
      translation: the batch of a translation step that is wider than the experiment's.
      depth: the depth of the model of that step.
      sized: the model of that step.
      repeats: how many steps are timed in each precision; the figures are medians.

    Returns:
      Milliseconds of a joint step and of a translation step in both precisions, and their ratio, next to the ratio of
      large matrix products. For each problem, the teacher-forced figures on its dev set as mean and sample standard
      deviation over the seeds.

    Raises:
      RunError: a training fails.
    """
    training.schedule()  # an invalid schedule is reported here rather than by the first training
    peaks = {precision: matmul_peak(precision.removeprefix("mixed_")) for precision in PRECISIONS}
    found = {"matmul": {f"{name}_gflops": peak / 1e9 for name, peak in peaks.items()}}
    found["matmul"]["speed_up"] = peaks["mixed_bfloat16"] / peaks["float32"]
    found["joint step"] = _compared([_joint_step(training.experiment, name) for name in PRECISIONS], repeats)
    batch = {"translation": translation_batch(translation, translation.batch_sizes[0])}
    wide = []
    for name in PRECISIONS:
        with layers_of(name):
            step = translation_step(sized, translation, depth)[2]
        wide.append(lambda step=step: step(batch))
    found[f"translation step, d = {depth}"] = _compared(wide, repeats)
    return found | summary({name: [_figures(training, folder, name, seed) for seed in seeds] for name in PRECISIONS})


def _figures(training: Training, folder: str, precision: str, seed: int) -> dict[str, dict[str, float]]:
    """Returns the figures of one training, and runs the training first if it has not left any yet."""
    model_dir = os.path.join(folder, f"{precision}_{seed}_{training.steps}_steps")
    path = os.path.join(model_dir, _FIGURES)
    if not os.path.exists(path):
        task = json.dumps({"precision": precision, "seed": seed, "model_dir": model_dir})
        # A separate process frees the memory of the traced graphs when it ends.
        done = subprocess.run([sys.executable, "-m", "t2t_mm.lab.benchmarks.bfloat16", task, config.resolved()])
        if done.returncode:
            raise RunError(f"Training in {model_dir} failed with exit code {done.returncode}; see its output above.")
    with open(path) as file:
        return json.load(file)


def _joint_step(experiment: Experiment, precision: str) -> Callable:
    """Returns a joint training step on one batch of each problem; both precisions get the same batches."""
    keras.utils.set_random_seed(0)
    streams, _ = open_streams(experiment.problems, experiment)
    batch = {name: next(iter(stream)) for name, stream in streams.items()}
    network = experiment.build_model(experiment.describe(), precision)
    step = train_step(network, experiment.problems, {name: stream.element_spec for name, stream in streams.items()})
    return lambda: step(batch)


def _compared(steps: Sequence[Callable], repeats: int) -> dict[str, float]:
    times = dict(zip(PRECISIONS, seconds(*steps, repeats=repeats)))
    ratio = times["float32"] / times["mixed_bfloat16"]
    return {f"{name}_milliseconds": 1e3 * time for name, time in times.items()} | {"speed_up": ratio}


def _dev_figures(experiment: Experiment, count: int, trained: MultiModel) -> dict[str, dict[str, float]]:
    """Returns problem -> figures on the first examples of its dev set.

    The weights are copied to a float32 model, so that both precisions are evaluated alike.
    """
    network = experiment.build_model(experiment.describe())
    for variable, value in zip(network.variables, trained.variables):
        variable.assign(value)
    teacher_forced, tokenizer, found = TeacherForced(network), Tokenizer(experiment.vocabulary), {}
    for problem in experiment.problems:
        report = Report(problem.name)
        batches = make_batches(
            problem, load_examples(problem, "dev", report).first(count), tokenizer, experiment.audio, experiment.batches,
            report, training=False,
        )  # fmt: skip
        found[problem.name] = teacher_forced(problem, batches)
    return found


def summary(reached: dict[str, list[dict[str, dict[str, float]]]]) -> dict[str, dict[str, float]]:
    """Summarizes the figures of all seeds.

    Args:
      reached: precision -> one dict per seed of problem -> figures.

    Returns:
      Problem -> mean and standard deviation of each figure, with one more entry for the mean of all problems.
    """
    found: dict = {}
    for precision, runs in reached.items():
        for problem in runs[0]:
            case = found.setdefault(problem, {})
            for figure in ("log_perplexity", "token_accuracy"):
                case |= _spread(f"{precision}_{figure}", [run[problem][figure] for run in runs])
    case = found.setdefault("mean of all problems", {})
    for precision, runs in reached.items():
        for figure in ("log_perplexity", "token_accuracy"):
            means = [float(np.mean([figures[figure] for figures in run.values()])) for run in runs]
            case |= _spread(f"{precision}_{figure}", means)
    return found


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    found = {f"{name}_mean": float(np.mean(values))}
    return found | ({f"{name}_deviation": float(np.std(values, ddof=1))} if len(values) > 1 else {})


def main(task: str, configuration: str) -> None:
    """Runs one training, described by `task` (JSON) and the text of a Gin configuration."""
    # Gin knows `Training` by its module's name, which is __main__ in this process.
    from t2t_mm.lab.benchmarks import bfloat16

    config.parse((), last=configuration)
    config.configured(bfloat16.Training)()(**json.loads(task))


if __name__ == "__main__":
    from absl import logging

    logging.set_verbosity(logging.INFO)
    main(*sys.argv[1:])
