"""What the tokens of answers looked at, as one HTML page that needs nothing else."""

import base64
import importlib.resources
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from t2t_mm.inference.predictor import Hypothesis
from t2t_mm.input.features import AudioFeatures
from t2t_mm.problem import Problem

_WIDEST = 2000  # pixels of a sound's picture: a waveform has thousands of times as many samples


def page(problem: Problem, answers: Sequence[tuple[str, Hypothesis]], audio: AudioFeatures) -> str:
    """The page of some answers of one problem.

    Of a text it is a table of output tokens and source pieces; of a picture, for each token the picture with its grid over
    it; of a sound, for each token a strip along the time under the spectrogram. The block is chosen on the page.

    Args:
      answers: the input and its answer with its `looks`, at least one.
      audio: how sounds were turned into features, for the time axis.

    Raises:
      ValueError: there is no answer, or one has no `looks`.
    """
    if not answers:
        raise ValueError("A page of what answers looked at needs at least one answer.")
    data = json.dumps([_described(problem, *one, audio) for one in answers], ensure_ascii=False)
    template = importlib.resources.files("t2t_mm.inference").joinpath("attention.html").read_text("utf-8")
    # No text ends the script element that the data stand in.
    return template.replace("{{data}}", data.replace("<", "\\u003c"))


def _described(problem: Problem, text: str, hypothesis: Hypothesis, audio: AudioFeatures) -> dict[str, Any]:
    looks = hypothesis.looks
    if looks is None:
        raise ValueError(f"The answer to {text!r} does not say what it looked at; ask `hypotheses` for looks=True.")
    found: dict[str, Any] = {
        "input": text, "answer": hypothesis.answer, "modality": problem.modality, "tokens": hypothesis.pieces,
        "blocks": looks.blocks, "weights": np.round(looks.weights.astype(float), 4).tolist(),
    }  # fmt: skip
    if looks.features is None:
        return found | {"pieces": looks.pieces}
    found |= {"grid": looks.grid, "size": looks.features.shape[:2]}
    if problem.modality == "image":
        return found | {"picture": _png(looks.features)}
    hop = audio.hop if audio.bins > 1 else 1
    # Low frequencies are at the bottom.
    return found | {"picture": _png(looks.features.T[::-1]), "seconds": len(looks.features) * hop / audio.sample_rate}


def _png(values: np.ndarray) -> str:
    """[H, W] or [H, W, 3] of any range as the address of a PNG that holds the picture itself."""
    low, high = values.min(), values.max()
    pixels = np.round(255 * (values - low) / max(high - low, 1e-6)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, picture.height))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
