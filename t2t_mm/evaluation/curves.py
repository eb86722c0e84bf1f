"""The losses of a run against its steps, read back from what it wrote for TensorBoard."""

import os

from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from tensorboard.util import tensor_util


def training_losses(model_dir: str, points: int = 10) -> dict[str, dict[int, float]]:
    """Problem -> {step: training loss}, at `points` places spread evenly over the run, the first and the last included.

    A loss is of one batch and includes label smoothing, so single values are noisy. Empty where no events are left.
    """
    folder = os.path.join(model_dir, "events")
    if not os.path.isdir(folder):
        return {}
    events = EventAccumulator(folder, size_guidance={TENSORS: 0})
    events.Reload()
    found = {}
    for tag in events.Tags()[TENSORS]:
        problem, _, figure = tag.rpartition("/")
        if figure == "loss":
            losses = {event.step: tensor_util.make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)}
            found[problem] = _spread(sorted(losses.items()), points)
    return found


def _spread(losses: list[tuple[int, float]], points: int) -> dict[int, float]:
    if len(losses) <= points:
        return dict(losses)
    places = {round(i * (len(losses) - 1) / (points - 1)) for i in range(points)}
    return {step: loss for place, (step, loss) in enumerate(losses) if place in places}
