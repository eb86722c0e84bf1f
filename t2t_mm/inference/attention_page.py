"""A self-contained HTML page that shows what the tokens of answers attended to."""

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

_WIDEST = 2000  # maximum width in pixels of the image of a recording; a waveform has thousands of times as many samples


def page(problem: Problem, answers: Sequence[tuple[str, Hypothesis]], audio: AudioFeatures) -> str:
    """Returns the page of some answers of one problem.

    For text, the page is a table of output tokens and source pieces. For an image, it shows the image with a grid over it
    for each token. For a recording, it shows a strip along the time axis for each token, below the spectrogram. The user
    can select the block on the page.

    Args:
      problem: the problem of the answers.
      answers: pairs of an input and its answer with `looks`; at least one.
      audio: the settings of the audio features, for the time axis.

    Raises:
      ValueError: there is no answer, or an answer has no `looks`.
    """
    if not answers:
        raise ValueError("An attention page needs at least one answer.")
    data = json.dumps([_described(problem, *one, audio) for one in answers], ensure_ascii=False)
    template = importlib.resources.files("t2t_mm.inference").joinpath("attention.html").read_text("utf-8")
    # No text may end the script element that contains the data.
    return template.replace("{{data}}", data.replace("<", "\\u003c"))


def _described(problem: Problem, text: str, hypothesis: Hypothesis, audio: AudioFeatures) -> dict[str, Any]:
    looks = hypothesis.looks
    if looks is None:
        raise ValueError(f"The answer to {text!r} has no attention weights; call `hypotheses` with looks=True.")
    found: dict[str, Any] = {
        "input": text, "answer": hypothesis.answer, "modality": problem.modality, "tokens": hypothesis.pieces,
        # Four digits are more than a colour can show, and keep the page small.
        "blocks": looks.blocks, "weights": np.round(looks.weights.astype(float), 4).tolist(),
    }  # fmt: skip
    if looks.features is None:
        return found | {"pieces": looks.pieces}
    found |= {"grid": looks.grid, "size": looks.features.shape[:2]}
    if problem.modality == "image":
        return found | {"picture": _png(looks.features)}
    # A waveform has one position of features per sample.
    hop = audio.hop if audio.bins > 1 else 1
    # Low frequencies are at the bottom.
    return found | {"picture": _png(looks.features.T[::-1]), "seconds": len(looks.features) * hop / audio.sample_rate}


def _png(values: np.ndarray) -> str:
    """Returns an image [H, W] or [H, W, 3] with values of any range as a data URL of a PNG."""
    low, high = values.min(), values.max()
    pixels = np.round(255 * (values - low) / max(high - low, 1e-6)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, picture.height))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
