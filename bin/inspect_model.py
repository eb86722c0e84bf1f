"""Estimates the cost of a configuration (parameters, memory, operations, bytes, days) without creating any weights.

    python bin/inspect_model.py --gin_file=gin/sizes/paper.gin --hardware=tpu-v5p --replicas=8 --steps=1000000
    python bin/inspect_model.py --gin_file=gin/runs/joint_mini.gin --gin_param="model.MultiModel.depth = 256"
    python bin/inspect_model.py --model_dir=runs/joint_mini

With --experts, it lists what the experts of a trained model specialise in: tokens, places and classes.

    python bin/inspect_model.py --model_dir=runs/joint_mini --experts=experts.json
"""

import os
import time

from absl import flags

from t2t_mm.common import checkpoint_flags, command, config
from t2t_mm.common.errors import RunError
from t2t_mm.problems import paper

_MANY_STEPS = 250_000

_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration file; may be repeated, later files override earlier ones.")
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a run whose config.gin is inspected.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the files; may be repeated.")
_HARDWARE = flags.DEFINE_enum(
    "hardware", "nvidia-h100-sxm", ["nvidia-a100-80g", "nvidia-h100-sxm", "tpu-v4", "tpu-v5e", "tpu-v5p"],
    "Chip of each replica.",
)  # fmt: skip
_REPLICAS = flags.DEFINE_integer("replicas", 1, "Number of chips.", lower_bound=1)
_STEPS = flags.DEFINE_integer(
    "steps", None,
    f"Number of joint steps whose time is estimated. Default: those of the configuration, or {_MANY_STEPS:,} if it has none.",
    lower_bound=1,
)  # fmt: skip
_SHARE = flags.DEFINE_float("share", 0.35, "Assumed fraction of the chip's peak performance.", lower_bound=0.001, upper_bound=1)
_TOKENS = flags.DEFINE_integer("tokens", 32, "Number of tokens in a typical text.", lower_bound=1)
_FRAMES = flags.DEFINE_integer("frames", 800, "Number of frames (10 ms each) in a typical recording.", lower_bound=1)
_VOCABULARY = flags.DEFINE_integer(
    "vocabulary_size", 8000, "Number of pieces in the vocabulary, without --model_dir.", lower_bound=2
)
_EXPERTS = flags.DEFINE_string(
    "experts", None, "JSON file for the lists of what each expert of the run in --model_dir specialises in, and a page (.md)."
)
_SPLIT = flags.DEFINE_enum("split", "dev", ["dev", "test"], "Split on which the experts are observed.")
_PROBLEM = flags.DEFINE_multi_string("problem", [], "Problem on which the experts are observed. Default: all problems.")
checkpoint_flags.define()
_CLASSES = flags.DEFINE_integer(
    "classes", 1000, "Number of classes of a classification problem, without --model_dir.", lower_bound=2
)

_EIGHT = (
    paper.wsj_speech, paper.imagenet, paper.coco, paper.wsj_parsing,
    paper.wmt_en_de, paper.wmt_de_en, paper.wmt_en_fr, paper.wmt_fr_en,
)  # fmt: skip


def list_experts(run) -> None:
    """Writes the lists for --experts."""
    from t2t_mm.lab import experts, results
    from t2t_mm.run.folder import use_folder

    start = time.monotonic()
    run = checkpoint_flags.chosen(use_folder(run, _MODEL_DIR.value), _MODEL_DIR.value)
    found = experts.specialties(run, _MODEL_DIR.value, _SPLIT.value, _PROBLEM.value)
    results.write_results(
        _EXPERTS.value, command.line(), found["seed"], (time.monotonic() - start) / 60, found["mixtures"],
        step=found["step"], split=_SPLIT.value, render=experts.page,
    )  # fmt: skip
    print(f"Written to {_EXPERTS.value} and {_EXPERTS.value.removesuffix('.json')}.md")


def main(_):
    if bool(_GIN_FILE.value) == bool(_MODEL_DIR.value):
        raise RunError("Give either --gin_file or --model_dir.")
    description = command.check_model_dir(_MODEL_DIR.value) if _MODEL_DIR.value else None
    gin_files = _GIN_FILE.value or [os.path.join(_MODEL_DIR.value, "config.gin")]
    config.check_files(gin_files)
    if _EXPERTS.value and not _MODEL_DIR.value:
        raise RunError("--experts needs the folder of a trained run; give --model_dir.")
    checkpoint_flags.check()
    command.load_tensorflow()
    config.parse(gin_files, _GIN_PARAM.value)
    from t2t_mm.experiment import Experiment
    from t2t_mm.input import buckets
    from t2t_mm.lab import inspection
    from t2t_mm.model import MultiModel
    from t2t_mm.run.folder import use_folder

    if _EXPERTS.value:
        list_experts(config.configured(Experiment)())
        return
    try:
        run = config.configured(Experiment)()
        problems, model, batches, bins = run.problems, run.model, run.batches, run.audio.bins
    except config.ConfigError:  # the files only define a size; assume the paper's eight problems
        problems = [problem("corpora") for problem in _EIGHT]
        model, batches, bins = config.configured(MultiModel), buckets.BatchSettings(), 80
    classes = {problem.name: _CLASSES.value for problem in problems if problem.targets == "class"}
    commands = sorted({problem.command for problem in problems})
    try:
        if description:  # the vocabulary, the inputs and the classes of the run, and not the assumed ones
            trained = use_folder(run, _MODEL_DIR.value)
            network = inspection.without_values(lambda: trained.build_model(description))
        else:
            network = inspection.build_without_weights(model, _VOCABULARY.value, commands, classes, bins)
    except ValueError as error:  # a layer rejects its size
        raise RunError(str(error)) from error
    lengths = inspection.Lengths(_TOKENS.value, _FRAMES.value)
    try:
        configured_steps = config.value_of("loop.train.steps")
    except config.ConfigError:  # the files only define a size
        configured_steps = _MANY_STEPS
    steps = _STEPS.value or configured_steps
    print(inspection.report(network, problems, batches, lengths, _HARDWARE.value, _REPLICAS.value, steps, _SHARE.value))


if __name__ == "__main__":
    command.run(main)
