"""Warm-up records: one request for every signature, which a server answers before it makes the version available."""

import io
import os
import wave
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from t2t_mm.common.errors import RunError
from t2t_mm.export import limits
from t2t_mm.export.answers import EXAMPLE_FEATURES, input_names
from t2t_mm.input.features import AudioFeatures
from t2t_mm.problem import Problem

# The path at which TensorFlow Serving expects them.
RECORDS = os.path.join("assets.extra", "tf_serving_warmup_requests")


def example_input(modality: str, sample_rate: int = 16000, most_samples: int | None = None) -> bytes:
    """Returns a small valid input: a sentence, an image, or a second of audio, or less if it may only have `most_samples`."""
    if modality == "language":
        return b"The cat sleeps ."
    data = io.BytesIO()
    if modality == "image":
        # Not a constant image, whose deviation is zero.
        grey = np.linspace(0, 255, 32 * 32 * 3).astype(np.uint8).reshape(32, 32, 3)
        Image.fromarray(grey).save(data, "JPEG")
        return data.getvalue()
    with wave.open(data, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(sample_rate)
        count = sample_rate if most_samples is None else min(sample_rate, most_samples)
        samples = 8000 * np.sin(2 * np.pi * 440 * np.arange(count) / sample_rate)
        sound.writeframes(samples.astype("<i2").tobytes())
    return data.getvalue()


def requests(signatures: Sequence[str], problems: Sequence[Problem], audio: AudioFeatures, max_frames: int) -> list:
    """Returns a PredictionLog for each signature in order.

    `serving_default`, `n_best` and `attention` get one row for every problem that they take, up to the limit of `attention`.
    """
    sound = audio.sample_rate, limits.most_samples(audio, max_frames)
    given = {problem.name: [example_input(modality.name, *sound) for modality in problem.modalities] for problem in problems}
    inputs = {problem.name: given[problem.name][0] for problem in problems if len(problem.modalities) == 1}
    modalities = {problem.name: problem.modalities[0].name for problem in problems}
    names = {problem.name: input_names(problem) for problem in problems}
    records = []
    for name in signatures:
        if name == "serving_default":
            records.append(_predict(name, command=list(inputs), inputs=list(inputs.values())))
        elif name in ("n_best", "attention"):
            written = [p.name for p in problems if p.name in inputs and p.targets != "class"]
            written = written[: limits.MOST_LOOKED_AT] if name == "attention" else written
            records.append(_predict(name, command=written, inputs=[inputs[one] for one in written]))
        elif name == "tokens":
            # The ids 3 and 4 exist in every vocabulary (0 to 2 are padding, end and unknown), and 1 is the end token.
            command = next(p.command for p in problems if p.modality == "language" and p.targets != "class")
            records.append(_predict(name, command=[command], ids=np.array([[3, 4, 1]], np.int32)))
        elif name in given:
            records.append(_predict(name, **{key: [value] for key, value in zip(names[name], given[name])}))
        else:
            problem = name.removesuffix("_classify")
            records.append(_classify(name, EXAMPLE_FEATURES[modalities[problem]], inputs[problem]))
    return records


def write(folder: str, records: Sequence) -> None:
    path = os.path.join(folder, RECORDS)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record.SerializeToString())


def recorded(folder: str) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Returns (signature, inputs) of each record of an export."""
    found = []
    for data in tf.data.TFRecordDataset(os.path.join(folder, RECORDS)):
        record = prediction_log_pb2.PredictionLog.FromString(data.numpy())
        if record.WhichOneof("log_type") == "classify_log":
            request = record.classify_log.request
            examples = [example.SerializeToString() for example in request.input.example_list.examples]
            inputs = {"inputs": np.array(examples, object)}
        else:
            request = record.predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def answer_all(folder: str) -> None:
    """Loads an export and answers its records. If this fails, a server would not serve the export either.

    Raises:
      RunError: a score is not finite.
      tf.errors.OpError: a signature fails.
    """
    # From the files and in a session, as a server does it, and not from the functions in memory.
    records, settings = recorded(folder), tf.compat.v1.ConfigProto()
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.compat.v1.Session(graph=tf.Graph(), config=settings) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], folder)
        for name, inputs in records:
            signature = meta.signature_def[name]
            feeds = {signature.inputs[key].name: value for key, value in inputs.items()}
            found = session.run({key: output.name for key, output in signature.outputs.items()}, feeds)
            # Beyond the last possible answer the scores of `n_best` are -inf, by which there must be one at least.
            scores = found["scores"][:, 0] if name == "n_best" else found["scores"]
            if not np.isfinite(scores).all():
                raise RunError(f"{name}: scores are not finite in the answer to its warm-up request.")


def _predict(signature: str, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def _classify(signature: str, feature: str, data: bytes):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.signature_name = signature
    request.input.example_list.examples.add().features.feature[feature].bytes_list.value.append(data)
    return prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=request))
