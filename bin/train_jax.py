"""Trains runs with JAX on an accelerator, several seeds at once, in three steps (docs/accelerators.md).

    python bin/train_jax.py pack --gin_file=gin/runs/joint_mini.gin --seeds=3 --packed=packed
    KERAS_BACKEND=jax python bin/train_jax.py train --packed=packed --trained=trained
    python bin/train_jax.py unpack --gin_file=gin/runs/joint_mini.gin --seeds=3 --trained=trained --model_dir=runs/joint_jax

The first step reads the corpora, and the last one writes the folders model_dir/seed_0, model_dir/seed_1, …, which all other
commands read. The second one needs no TensorFlow and no corpora, so that it can run on another machine, to which only the
folder `packed` is copied. Finished runs are skipped. `bin/reproduce.py --pack` packs the runs of the tables.

    python bin/train_jax.py report --packed=packed --trained=trained --output=docs/results/NAME.json

shows the speed of the trained runs, and what they reached on each problem without decoding. It needs no weights.
"""

import importlib.util
import os

from absl import flags

from t2t_mm.common import command, config
from t2t_mm.common.errors import RunError

_VERBS = ("pack", "train", "unpack", "report")
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Configuration file of the run (pack, unpack); may be repeated.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding applied after the files; may be repeated.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Number of seeds of the run (pack, unpack).", lower_bound=1)
_PACKED = flags.DEFINE_string("packed", "packed", "Folder of the packed runs (pack, train, report).")
_TRAINED = flags.DEFINE_string("trained", "trained", "Folder of the trained weights and results (all but pack).")
_RUN = flags.DEFINE_multi_string("run", [], "Run, a name or a pattern such as 'alone_*' (train, report). Default: all.")
_BUCKETS = flags.DEFINE_integer(
    "buckets", 1, "Number of lengths to which sequences are padded (train). More of them save work and take longer to compile.",
    lower_bound=1,
)  # fmt: skip
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Precision of the trained weights (train); bfloat16 halves their size."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the results; a table (.md) is written next to it (report).")
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Parent of the folders of the runs (unpack).")


def settings_of(seed: int):
    """Returns the settings of the run with a seed, as the flags configure it."""
    from t2t_mm.jax_training.pack import PackSettings
    from t2t_mm.training import loop

    config.parse(_GIN_FILE.value, [*_GIN_PARAM.value, f"loop.train.seed = {seed}"])
    config.check_macros()
    return PackSettings.of(config.arguments_of(loop.train))


def pack() -> None:
    from t2t_mm.jax_training.pack import Packer
    from t2t_mm.jax_training.packed import digest_of

    packer = Packer(_PACKED.value)
    for seed in range(_SEEDS.value):
        packer.add(f"seed_{seed}", settings_of(seed), configuration=digest_of(config.resolved()))
    packer.save()
    print(f"Written to {_PACKED.value}")


def train() -> None:
    if os.environ.get("KERAS_BACKEND") != "jax":
        raise RunError("Training with JAX needs its backend of Keras: set KERAS_BACKEND=jax in the environment.")
    if importlib.util.find_spec("jax") is None:
        raise RunError(
            "JAX is not installed; see https://docs.jax.dev/en/latest/installation.html, for instance pip install jax."
        )
    from t2t_mm.jax_training.train import train_groups

    train_groups(_PACKED.value, _TRAINED.value, _chosen(), buckets=_BUCKETS.value, dtype=_DTYPE.value)


def _chosen() -> list:
    from t2t_mm.jax_training.packed import load_runs

    runs = load_runs(_PACKED.value)
    names = command.matching_runs(_RUN.value, [run.name for run in runs])
    return [run for run in runs if run.name in names]


def report() -> None:
    from t2t_mm.lab import jax_results, results

    runs = _chosen()
    trained = jax_results.load(_TRAINED.value, runs)
    found = jax_results.results(runs, trained)
    print(results.table(found))
    if _OUTPUT.value:
        minutes = sum(one["training_seconds"] for one in trained) / 60
        results.write_results(_OUTPUT.value, command.line(), sorted({run.seed for run in runs}), minutes, found)
        print(f"Written to {_OUTPUT.value}")


def unpack() -> None:
    from t2t_mm.jax_training.packed import check_configuration, digest_of, load_result
    from t2t_mm.jax_training.unpack import unpack as unpack_run

    if not _MODEL_DIR.value:
        raise RunError("Give --model_dir, the parent of the folders of the runs.")
    for seed in range(_SEEDS.value):
        settings = settings_of(seed)
        if result := load_result(_TRAINED.value, f"seed_{seed}"):
            check_configuration(result, os.path.join(_TRAINED.value, f"seed_{seed}"), digest_of(config.resolved()))
        folder = os.path.join(_MODEL_DIR.value, f"seed_{seed}")
        description = settings.experiment.describe()
        unpack_run(_TRAINED.value, f"seed_{seed}", folder, settings.experiment, description, config.resolved())
        print(f"Written to {folder}")


def main(arguments: list[str]) -> None:
    if arguments[1] == "train":
        return train()
    if arguments[1] == "report":
        command.load_tensorflow()
        return report()
    if not _GIN_FILE.value:
        raise RunError("Give the --gin_file of the run, for instance gin/runs/joint_mini.gin.")
    config.check_files(_GIN_FILE.value)
    command.load_tensorflow()
    return {"pack": pack, "unpack": unpack}[arguments[1]]()


if __name__ == "__main__":
    command.run(main, _VERBS)
