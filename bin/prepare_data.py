"""Writes the corpora of a run as tokenised, sharded records, which training reads quickly and with little memory.

    python bin/prepare_data.py --gin_file=gin/runs/joint_mini.gin --output=prepared --processes=2

If the command is interrupted, the same command resumes it. To train on the records, add --gin_file=gin/prepared.gin. With
--beam_pipeline_options=runner=..., an Apache Beam runner does the work, on as many machines as it has.
"""

import os

from absl import flags, logging

from t2t_mm.common import command, config
from t2t_mm.corpora import corpus_files

_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file", None, "Configuration file of the run; may be repeated, later files override earlier ones.", required=True
)
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the files; may be repeated.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the records; each problem has a subfolder in it.", required=True)
_PROBLEM = flags.DEFINE_multi_string(
    "problem", [], f"Problem to prepare; may be repeated. Default: all problems of the run; {command.PROBLEM_HELP}."
)
_SPLIT = flags.DEFINE_multi_enum("split", corpus_files.SPLITS, corpus_files.SPLITS, "Split to prepare; may be repeated.")
_PROCESSES = flags.DEFINE_integer("processes", os.cpu_count(), "Number of processes.", lower_bound=1)
_SHARD_EXAMPLES = flags.DEFINE_integer(
    "shard_examples", None, "Number of examples in a shard. Default: depends on the input modality.", lower_bound=1
)
_MAX_BAD = flags.DEFINE_integer(
    "max_bad_examples", 100, "Maximum number of unusable examples in a split; with more, the command stops.", lower_bound=0
)
_BEAM = flags.DEFINE_list(
    "beam_pipeline_options", [], "Options of an Apache Beam pipeline that does the work, such as runner=DirectRunner."
)
_VERIFY = flags.DEFINE_bool("verify", False, "Whether to only compare the records in --output with their checksums.")


def prepare_or_verify(run, problem, workers) -> dict:
    from t2t_mm.input import prepare

    if _VERIFY.value:
        return prepare.verify(_OUTPUT.value, problem.name)
    arguments = (problem, run.vocabulary, _OUTPUT.value, run.batches.image_size, run.audio.sample_rate)
    if _BEAM.value:
        options = [f"--{option}" for option in _BEAM.value]
        return with_beam().prepare(*arguments, options, _SPLIT.value, _MAX_BAD.value)
    return prepare.prepare(*arguments, workers, _SPLIT.value, _MAX_BAD.value, _SHARD_EXAMPLES.value)


def with_beam():
    try:
        from t2t_mm.input import prepare_beam
    except ImportError as error:
        raise SystemExit(
            f"{command.name()}: --beam_pipeline_options needs Apache Beam ({error}): pip install -e '.[beam]'."
        ) from error
    return prepare_beam


def show(name: str, description: dict) -> None:
    for split, counts in description["splits"].items():
        print(f"{name} {split}: " + ", ".join(f"{value:,} {what}" for what, value in counts.items()))
    for split, reason in description["absent"].items():
        print(f"{name} {split}: absent. {reason}")


def main(_):
    logging.set_verbosity(logging.WARNING)  # TFDS logs several messages for every shard
    config.check_files(_GIN_FILE.value)
    command.load_tensorflow()
    config.parse(_GIN_FILE.value, _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.input import prepare, records

    run = config.configured(experiment.Experiment)()
    problems = [run.problem(name) for name in _PROBLEM.value] or run.problems
    with prepare.ShardWriters(_PROCESSES.value) as workers:
        for problem in problems:
            folder = os.path.join(_OUTPUT.value, problem.name)
            kept = os.path.isdir(os.path.join(folder, records.VERSION)) and not _VERIFY.value
            show(problem.name, prepare_or_verify(run, problem, workers))
            if kept:
                print(
                    f"{problem.name}: kept as they were. If the corpus has changed since, delete {folder} to write them again."
                )


if __name__ == "__main__":
    command.run(main)
