"""Selects parts of the model by name to freeze them or to give them another learning rate."""

from collections.abc import Mapping

from t2t_mm.common.errors import RunError
from t2t_mm.model import MultiModel, path_below
from t2t_mm.spelling import near

_BODY = ("encoder", "mixer", "decoder")
GROUPS = ("modality nets", "body", "all")


def rate_factors(network: MultiModel, rates: Mapping[str, float] | None) -> dict[str, float]:
    """Returns a dict of the path of each trainable weight (below the model) -> factor of its learning rate.

    Args:
      rates: name -> factor. If several names match a weight, the last one applies. A name is the name of a part
        (`MultiModel.parts`), of a group of parts ("modality nets", "body", "all"), or a prefix of weight paths that ends
        before a slash, such as "encoder/block1" or "categorical_out/imagenet".

    Raises:
      RunError: a factor is negative, or a name matches no weight.
    """
    nets = tuple(part for part in network.parts() if part not in (*_BODY, "command_in"))
    groups = dict(zip(GROUPS, (nets, _BODY, ("",))))
    factors = {path_below(variable): 1.0 for variable in network.trainable_variables}
    for name, factor in (rates or {}).items():
        if factor < 0:
            raise RunError(f"Optimizer.rates of {name!r} is {factor!r}; it must not be negative (0 freezes).")
        begins = tuple(f"{part}/" if part else "" for part in groups.get(name, (name,)))
        # Both end with a slash, so that "encoder/block1" does not match "encoder/block10".
        fitting = [path for path in factors if f"{path}/".startswith(begins)]
        if not fitting:
            known = {*GROUPS, *(path[:end] for path in factors for end, letter in enumerate(f"{path}/") if letter == "/")}
            raise RunError(
                f"Optimizer.rates names {name!r}, which is not a part of this model{near(name, sorted(known))}. Its parts are "
                f"{', '.join(network.parts())}; groups of them are {', '.join(GROUPS)}."
            )
        # A later name replaces the factor of an earlier one, so "all" can come first and exceptions after it.
        factors |= dict.fromkeys(fitting, float(factor))
    return factors


def freeze(network: MultiModel, factors: Mapping[str, float]) -> list[str]:
    """Makes the weights whose factor is 0 untrainable, and returns their paths.

    If a part is frozen as a whole, its moving statistics are frozen, too.

    Raises:
      RunError: all weights would be frozen.
    """
    frozen = [path for path, factor in factors.items() if factor == 0]
    if len(frozen) == len(factors):
        raise RunError("Optimizer.rates freezes the whole model; nothing is left to be trained.")
    for part in network.parts().values():
        trainable = part.trainable_variables
        still = [variable for variable in trainable if factors[path_below(variable)] == 0]
        if trainable and len(still) == len(trainable):
            # A frozen Keras layer runs its batch norm with the moving statistics, and does not update them.
            part.trainable = False
        for variable in still:
            variable.trainable = False
    return frozen


def describe(network: MultiModel, factors: Mapping[str, float]) -> list[str]:
    """Returns one line for each factor other than 1, with the parts or weights to which it applies."""
    lines = []
    for factor in sorted({factor for factor in factors.values() if factor != 1}):
        names = []
        for part in network.parts():
            paths = [path for path in factors if path.startswith(f"{part}/")]
            # A part is named as a whole where all of its weights have the factor.
            fitting = [path for path in paths if factors[path] == factor]
            if fitting and len(fitting) == len(paths):
                names.append(part)
            elif fitting:
                names.append(f"{len(fitting)} of {len(paths)} weights of {part}")
        what = "Frozen" if factor == 0 else f"Learning rate × {factor:g}"
        lines.append(f"{what}: {', '.join(names)}")
    return lines
