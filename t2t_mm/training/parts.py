"""Parts of the model by name: which are frozen, and which learn at another rate."""

from collections.abc import Mapping

from t2t_mm.model import MultiModel, path_below
from t2t_mm.run.errors import RunError

_BODY = ("encoder", "mixer", "decoder")
GROUPS = ("modality nets", "body", "all")


def rate_factors(network: MultiModel, rates: Mapping[str, float] | None) -> dict[str, float]:
    """Path of each trainable weight, below the model -> what the learning rate is multiplied with there.

    Args:
      rates: name -> factor; of several that fit a weight the last one counts. A name is that of a part
        (`MultiModel.parts`), of a group of them ("modality nets", "body", "all"), or the beginning of weights' paths, up
        to a slash: "encoder/block1", "categorical_out/imagenet".

    Raises:
      RunError: a factor is negative, or a name fits no weight.
    """
    nets = tuple(part for part in network.parts() if part not in (*_BODY, "command_in"))
    groups = dict(zip(GROUPS, (nets, _BODY, ("",))))
    factors = {path_below(variable): 1.0 for variable in network.trainable_variables}
    for name, factor in (rates or {}).items():
        if factor < 0:
            raise RunError(f"Optimizer.rates of {name!r} is {factor!r}; it must not be negative (0 freezes).")
        begins = tuple(f"{part}/" if part else "" for part in groups.get(name, (name,)))
        fitting = [path for path in factors if f"{path}/".startswith(begins)]
        if not fitting:
            raise RunError(
                f"Optimizer.rates names {name!r}, which is no part of this model. Its parts are "
                f"{', '.join(network.parts())}; groups of them are {', '.join(GROUPS)}."
            )
        factors |= dict.fromkeys(fitting, float(factor))
    return factors


def freeze(network: MultiModel, factors: Mapping[str, float]) -> list[str]:
    """Makes the weights whose factor is 0 untrainable -> their paths.

    A part that is frozen as a whole is so with its moving statistics, too.

    Raises:
      RunError: nothing is left to be trained.
    """
    frozen = [path for path, factor in factors.items() if factor == 0]
    if len(frozen) == len(factors):
        raise RunError("Optimizer.rates freezes the whole model; nothing is left to be trained.")
    for part in network.parts().values():
        trainable = part.trainable_variables
        still = [variable for variable in trainable if factors[path_below(variable)] == 0]
        if trainable and len(still) == len(trainable):
            part.trainable = False
        for variable in still:
            variable.trainable = False
    return frozen


def describe(network: MultiModel, factors: Mapping[str, float]) -> list[str]:
    """A line for each other rate, with the parts or weights that it holds for."""
    lines = []
    for factor in sorted({factor for factor in factors.values() if factor != 1}):
        names = []
        for part in network.parts():
            paths = [path for path in factors if path.startswith(f"{part}/")]
            fitting = [path for path in paths if factors[path] == factor]
            if fitting and len(fitting) == len(paths):
                names.append(part)
            elif fitting:
                names.append(f"{len(fitting)} of {len(paths)} weights of {part}")
        what = "Frozen" if factor == 0 else f"Learning rate × {factor:g}"
        lines.append(f"{what}: {', '.join(names)}")
    return lines
