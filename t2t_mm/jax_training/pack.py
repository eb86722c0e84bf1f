"""Packs runs for training with JAX: their settings as numbers, and their corpora as arrays."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import cast

import numpy as np

from t2t_mm.common.errors import RunError
from t2t_mm.common.files import file_digest
from t2t_mm.corpora import pictures
from t2t_mm.corpora.corpus_files import MissingCorpus
from t2t_mm.corpora.example import Report
from t2t_mm.corpora.split import InMemory
from t2t_mm.experiment import Experiment
from t2t_mm.input.buckets import Measure
from t2t_mm.input.pipeline import batches_of, load_examples, make_batches
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.jax_training.packed import SPLITS, PackedExamples, PackedRun, Slot, digest_of, save_runs
from t2t_mm.modalities.known import KNOWN
from t2t_mm.model import path_below
from t2t_mm.problem import Problem
from t2t_mm.training import parts
from t2t_mm.training.settings import Evaluation, Numerics, Objective, Observation, Optimizer

_UNSUPPORTED = {"ema": 0.0, "accumulate": 1}  # settings of the optimizer, and the only values that JAX training knows


@dataclasses.dataclass(frozen=True)
class PackSettings:
    """The arguments of `training.loop.train` that training with JAX supports, with its defaults."""

    experiment: Experiment
    steps: int
    schedule: Callable
    optimizer: Optimizer = Optimizer()
    objective: Objective = Objective()
    evaluation: Evaluation = Evaluation()
    numerics: Numerics = Numerics()
    observation: Observation = Observation()
    mixing: object = "joint"
    seed: int = 0
    max_bad_examples: int = 100
    init_from: str | None = None

    @classmethod
    def of(cls, arguments: dict) -> "PackSettings":
        """Returns the settings from the arguments of `training.loop.train`; what JAX training does not need is left out."""
        return cls(**{field.name: arguments[field.name] for field in dataclasses.fields(cls) if field.name in arguments})


class Packer:
    """Packs runs into a folder. Runs with the same examples share their arrays.

    Args:
      folder: the folder.
      say: prints one line.
    """

    def __init__(self, folder: str, say: Callable[[str], None] = print):
        self._folder, self._say, self._runs, self._written = folder, say, list[PackedRun](), dict[str, str]()
        self._descriptions: dict[str, dict] = {}
        self._digest = functools.cache(file_digest)  # many runs read the same files

    def add(self, name: str, settings: PackSettings, init_from: str | None = None, configuration: str = "") -> None:
        """Adds a run.

        Args:
          name: the name of the run, a relative path.
          settings: its settings.
          init_from: the name of a run added before, from whose weights it starts. It has the model of that run.
          configuration: see `PackedRun`.

        Raises:
          RunError: it uses something that training with JAX does not support; the message names it.
          CorpusError: a corpus is missing, or has no usable example.
        """
        experiment, optimizer = settings.experiment, dataclasses.asdict(settings.optimizer)
        for field, only in _UNSUPPORTED.items():
            if optimizer[field] != only:
                raise RunError(f"{name}: training with JAX does not support Optimizer.{field} = {optimizer[field]!r}.")
        if settings.init_from and not init_from:
            raise RunError(
                f"{name}: training with JAX starts from the weights of {settings.init_from} only as a part of "
                "bin/reproduce.py. Leave out loop.train.init_from, or use bin/train.py."
            )
        if settings.numerics.precision == "mixed_float16":
            raise RunError(f"{name}: training with JAX does not scale losses, which mixed_float16 needs; use mixed_bfloat16.")
        if settings.mixing != "joint" or any(factor == 0 for factor in (settings.optimizer.rates or {}).values()):
            raise RunError(f"{name}: training with JAX neither supports mixing other than 'joint' nor frozen parts.")
        if settings.evaluation.lower_is_better is not None or settings.evaluation.best_metric != Evaluation.best_metric:
            raise RunError(
                f"{name}: training with JAX selects the best weights by {Evaluation.best_metric}, not by "
                f"Evaluation.best_metric = {settings.evaluation.best_metric!r}; leave lower_is_better out, too."
            )
        if experiment.batches.crop or experiment.batches.masks:
            raise RunError(f"{name}: training with JAX does not augment images and audio; set crop and masks to None.")
        description = self._descriptions[name] = self._descriptions[init_from] if init_from else experiment.describe()
        network = experiment.build_model(description, settings.numerics.precision)
        factors = parts.rate_factors(network, settings.optimizer.rates)
        schedule = settings.schedule()
        weights = settings.objective.weights([problem.name for problem in experiment.problems])
        self._runs.append(
            PackedRun(
                name=name,
                seed=settings.seed,
                model=network.get_config(),
                slots=tuple(self._slot(problem, settings, weights[problem.name]) for problem in experiment.problems),
                steps=settings.steps,
                rates=tuple(np.round(schedule(np.arange(settings.steps)), 10).tolist()),
                factors=tuple(factors[path_below(variable)] for variable in network.trainable_variables),
                optimizer=optimizer,
                objective=dataclasses.asdict(settings.objective) | {"loss_weights": None},  # the slots have them
                evaluation={
                    "every_steps": settings.evaluation.every_steps,
                    "patience": settings.evaluation.patience,
                },
                cosine_steps=settings.observation.cosine_steps,
                init_from=init_from,
                configuration=configuration,
            )
        )

    def add_seed(self, name: str, seed: int, of: str, init_from: str | None = None, configuration: str = "") -> None:
        """Adds a run that was added before as `of` a second time, with another seed."""
        before = next(run for run in self._runs if run.name == of)
        self._descriptions[name] = self._descriptions[of]
        self._runs.append(dataclasses.replace(before, name=name, seed=seed, init_from=init_from, configuration=configuration))

    def save(self) -> None:
        """Writes the settings of all runs."""
        save_runs(self._folder, self._runs)

    def _slot(self, problem: Problem, settings: PackSettings, weight: float) -> Slot:
        modality, experiment = problem.modality, settings.experiment
        if not isinstance(modality, str) or modality not in KNOWN:
            raise RunError(f"{problem.name}: training with JAX supports one input, text, an image or audio.")
        measure = Measure(problem, experiment.batches)
        factor = experiment.batches.factor(problem.name)
        arrays = {}
        for split in SPLITS:
            try:
                arrays[split] = self._arrays(problem, experiment, split, Report(problem.name, settings.max_bad_examples))
            except MissingCorpus:
                if split != "test":
                    raise
        return Slot(
            problem.name, modality, KNOWN[modality].padded, problem.targets, problem.command, weight, arrays,
            round(measure.budget * factor) or None, None if measure.most is None else round(measure.most * factor),
        )  # fmt: skip

    def _arrays(self, problem: Problem, experiment: Experiment, split: str, report: Report) -> str:
        """Writes the examples of a split, unless another run has the same, and returns the name of their file."""
        settings, tokenizer = experiment.batches, Tokenizer(experiment.vocabulary)
        if split != "train":
            settings = settings.complete(experiment.audio)
        examples = load_examples(problem, split, report)
        if not isinstance(examples, InMemory):
            raise RunError(f"{problem.name}: training with JAX packs a corpus itself, not prepared records.")
        texts = [f"{example.input_line}\t{example.targets}" for example in examples]
        if problem.modality != "language":  # other files under the same paths are other examples
            texts += [self._digest(path) for example in examples for path in example.input_parts if os.path.isfile(path)]
        kind = [str(problem.modality), problem.targets, tokenizer.fingerprint, repr(settings), repr(experiment.audio)]
        key = digest_of("\n".join([*kind, *texts]))
        if key not in self._written:
            self._written[key] = name = f"{problem.name}_{split}_{key[:8]}"
            if PackedExamples.exist(self._folder, name):
                return name
            tools = tokenizer, experiment.audio, settings, report
            batches = batches_of(make_batches(problem, examples, *tools, training=False), report)
            found = _arrays_of(problem, examples, batches, settings.image_size)
            found.save(self._folder, self._written[key])
            self._say(f"{self._written[key]}: {len(found)} examples")
        return self._written[key]


def _arrays_of(problem: Problem, examples: InMemory, batches, image_size: int) -> PackedExamples:
    rows: dict[int, tuple[np.ndarray | None, np.ndarray]] = {}
    for batch in batches:
        inputs, targets = batch["inputs"].numpy(), batch["targets"].numpy()
        lengths = np.sum(~batch["input_padding"].numpy(), axis=1)
        target_lengths = np.sum(~batch["target_padding"].numpy(), axis=1)
        for place, index in enumerate(batch["index"].numpy().tolist()):
            if index >= 0:
                x = inputs[place, : lengths[place]] if problem.modality != "image" else None
                y = targets[place : place + 1] if problem.targets == "class" else targets[place, : target_lengths[place]]
                rows[index] = x, y
    order = sorted(rows)
    targets = [rows[index][1] for index in order]
    if problem.modality == "image":
        # Standardised pixels would take four times the space, and no longer compress.
        pixels = [pictures.load_image(str(examples[index].inputs), image_size) for index in order]
        inputs, lengths = np.stack([np.round(one).astype(np.uint8) for one in pixels]), np.full(len(order), image_size)
    else:
        kind = np.float16 if problem.modality == "audio" else np.int32
        parts = [cast(np.ndarray, rows[index][0]).astype(kind) for index in order]
        inputs, lengths = np.concatenate(parts), np.array([len(part) for part in parts])
    return PackedExamples(
        inputs, lengths.astype(np.int32), np.concatenate(targets), np.array([len(y) for y in targets], np.int32)
    )
