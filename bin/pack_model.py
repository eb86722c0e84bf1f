"""Packs a trained model into a small folder for sharing: weights in bfloat16, without the state of training.

    python bin/pack_model.py --model_dir=runs/joint_mini --output=models/mini

Every command accepts the folder as --model_dir, except that training accepts it as --init_from.
"""

import os

from absl import flags

from t2t_mm.common import checkpoint_flags, command, config

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of a training run.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the packed model; it must be absent or empty.", required=True)
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float32"], "Data type of the stored matrices.")
_GIN_PARAM = flags.DEFINE_multi_string("gin_param", [], "Gin binding that overrides the run's config.gin; may be repeated.")
checkpoint_flags.define()


def main(_):
    model_dir = _MODEL_DIR.value
    command.check_model_dir(model_dir)
    checkpoint_flags.check()
    command.load_tensorflow()
    config.parse([os.path.join(model_dir, "config.gin")], _GIN_PARAM.value)
    from t2t_mm import experiment
    from t2t_mm.run.folder import use_folder
    from t2t_mm.run.pack import pack

    run = checkpoint_flags.chosen(use_folder(config.configured(experiment.Experiment)(), model_dir), model_dir)
    size = pack(run, model_dir, _OUTPUT.value, _DTYPE.value)
    print(f"Written to {_OUTPUT.value}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    command.run(main)
