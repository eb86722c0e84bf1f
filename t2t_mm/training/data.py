"""The training data of a run: the batches of all problems, and which of them a step takes."""

import dataclasses
from collections.abc import Iterator

from absl import logging

from t2t_mm.corpora.example import Report
from t2t_mm.input.buckets import bucket_shapes
from t2t_mm.input.pipeline import load_examples, make_batches, next_batch
from t2t_mm.input.tokenizer import Tokenizer
from t2t_mm.modalities.known import KNOWN
from t2t_mm.training import dry_run, mixing
from t2t_mm.training.mixing import BySize, problems_of_step
from t2t_mm.training.plan import TrainingPlan


class TrainingData:
    """Reads the training sets of all problems, logs their sizes, and draws the batches of each step.

    Args:
      plan: the settings of the run.
      described: whether to log the description of a dry run for each training set, instead of only its size.

    Attributes:
      iterators: problem -> iterator over its batches. Checkpoints contain the state of the iterators.
      signatures: problem -> element spec of its batches.
      layout: what determines the sizes of batches and buffers, see `RunState`.

    Raises:
      CorpusError: a corpus is missing or has too many unusable examples.
    """

    def __init__(self, plan: TrainingPlan, described: bool = False):
        experiment = plan.experiment
        tokenizer = Tokenizer(experiment.vocabulary)
        self._reports, self._streams, sizes = {}, {}, {}
        for problem in experiment.problems:
            report = self._reports[problem.name] = Report(problem.name, plan.max_bad_examples)
            examples = load_examples(problem, "train", report)
            about = dry_run.describe_data(problem, examples, experiment, tokenizer) if described else None
            for line in about or [f"{problem.name}: {len(examples)} training examples"]:
                logging.info("%s", line)
            sizes[problem.name] = len(examples)
            self._streams[problem.name] = make_batches(
                problem, examples, tokenizer, experiment.audio, experiment.batches, report,
                training=True, seed=plan.seed, replicas=plan.replicas,
            )  # fmt: skip
        self.iterators: dict[str, Iterator] = {name: iter(stream) for name, stream in self._streams.items()}
        self.signatures = {name: stream.element_spec for name, stream in self._streams.items()}
        custom = [problem for problem in experiment.problems if any(one.name not in KNOWN for one in problem.modalities)]
        problems, batches = experiment.problems, experiment.batches
        of_one, of_all = ([bucket_shapes(one, batches, count) for one in problems] for count in (1, plan.replicas))
        self.layout = dataclasses.asdict(experiment.batches) | {
            # Where every batch size is a multiple of the number of replicas anyway, one replica can go on with the data of two.
            "the number of replicas": 1 if of_one == of_all else plan.replicas,
            **{f"the number of examples of {name}": size for name, size in sizes.items()},
            # Those of the known modalities follow from the settings.
            **{f"the buckets of {one.name}": bucket_shapes(one, experiment.batches) for one in custom},
        }
        self._names, self._seed, self._micro_batches = plan.names, plan.seed, plan.optimizer.accumulate
        for line in mixing.describe(plan.mixing, sizes, plan.steps * self._micro_batches):
            logging.info("%s", line)
        self._mixing = plan.mixing.rates(sizes) if isinstance(plan.mixing, BySize) else plan.mixing

    def batches_of(self, step: int) -> list[dict]:
        """Returns the micro-batches of a step, each a dict of problem -> batch. Call it once for each step, in order."""
        # The number of the micro-batch in the whole run, from which the draw of its problems follows, also after a resume.
        first = (step - 1) * self._micro_batches + 1
        return [
            {
                name: next_batch(self.iterators[name], self._reports[name])
                for name in problems_of_step(self._names, self._mixing, number, self._seed)
            }
            for number in range(first, first + self._micro_batches)
        ]
