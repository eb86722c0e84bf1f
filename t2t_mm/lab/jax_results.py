"""Speed and scores of runs that were trained with JAX (bin/train_jax.py report)."""

from collections.abc import Sequence

from t2t_mm.common.errors import RunError
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.jax_training.packed import PackedRun, Slot, load_result
from t2t_mm.lab import inspection
from t2t_mm.model import MultiModel
from t2t_mm.run.shapes import without_values


def update_flops(run: PackedRun, batches: dict[str, dict[str, int]]) -> float:
    """Returns the operations of one update of a run, three times those of the forward pass (`inspection`).

    Padding and rows that only fill a batch count, because they are computed.

    Args:
      batches: problem -> the numbers `rows`, `input_length` and `target_length` of its training batches.
    """

    def built():
        model = MultiModel.from_config(run.model)
        model.build()
        return model

    model = without_values(built)
    return 3.0 * sum(batches[slot.problem]["rows"] * _forward(model, slot, batches[slot.problem]) for slot in run.slots)


def _forward(model: MultiModel, slot: Slot, batch: dict[str, int]) -> float:
    tokens = batch["input_length" if slot.modality == "language" else "target_length"]  # a class is no text
    lengths = inspection.Lengths(tokens=tokens, frames=batch["input_length"])
    settings = BatchSettings(image_size=batch["input_length"])  # only read for images, whose length is their height
    return sum(inspection.example_cost(model, slot.declaration(), settings, lengths).flops.values())


def load(trained: str, runs: Sequence[PackedRun]) -> list[dict]:
    """Returns what training has written about each run (`packed.save_trained`).

    Args:
      trained: the folder that bin/train_jax.py wrote.

    Raises:
      RunError: a run has not been trained, or by an earlier version of this package, which did not measure its speed.
    """
    found = []
    for run in runs:
        result = load_result(trained, run.name)
        if result is None:
            raise RunError(f"{trained}: holds no results of {run.name}; train it first.")
        if not all("rows" in batch for batch in result.get("batches", {"": {}}).values()):
            raise RunError(
                f"{trained}: {run.name} was trained by an earlier version, which did not measure its speed; train it again."
            )
        found.append(result)
    return found


def results(runs: Sequence[PackedRun], trained: Sequence[dict]) -> dict[str, dict]:
    """Returns what was measured of each run: the speed of its updates, and the figures of each problem.

    Args:
      trained: what `load` returns for the runs.
    """
    found: dict[str, dict] = {}
    for run, result in zip(runs, trained):
        flops, seconds, peak = update_flops(run, result["batches"]), result["update_seconds"], result["matmul_flops"]
        speed = {
            "device": result["device"],
            "lanes": result["lanes"],
            "parameters": sum(result["parameters"].values()),
            "updates": result["ended"],
            "best_update": result["step"],
            "milliseconds_per_update": 1e3 * seconds,
            "tflop_per_update": flops / 1e12,
        }
        if peak:
            speed |= {
                "matmul_tflops": peak / 1e12,
                # The lanes are computed together.
                "share_of_matmul": result["lanes"] * flops / seconds / peak,
            }
        found[run.name] = speed
        for split, problems in result["splits"].items():
            found |= {f"{run.name}, {problem}, {split}": scored["figures"] for problem, scored in problems.items()}
    return found
