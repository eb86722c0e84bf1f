"""The flags --beam_size, --alpha and --max_length, which all commands that search for answers share.

A command defines them with `define()` and reads them with `chosen`.
"""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from t2t_mm.experiment import Experiment
    from t2t_mm.inference.search import Decoding


def define() -> None:
    """Defines the flags for the command that calls this."""
    flags.DEFINE_integer("beam_size", 1, "Number of hypotheses in beam search; 1: greedy search.", lower_bound=1)
    flags.DEFINE_float(
        "alpha", 0.6, "Exponent of the length penalty; 0: none. Larger values prefer longer answers.",
        lower_bound=-10, upper_bound=10,
    )  # fmt: skip
    flags.DEFINE_integer(
        "max_length", None,
        "Maximum number of tokens in an answer, including the end token. Default: that of the targets in training "
        "(BatchSettings.max_length), and at least 128.",
        lower_bound=1,
    )  # fmt: skip


def chosen(experiment: "Experiment") -> "Decoding":
    """Returns the settings of the search that the flags select, for answers of a model of this experiment."""
    from t2t_mm.inference.search import Decoding  # imports TensorFlow

    found = flags.FLAGS
    return Decoding(found.beam_size, found.alpha, found.max_length or experiment.longest_answer)


flags.disclaim_key_flags()  # so that --help lists them with the flags of the command
