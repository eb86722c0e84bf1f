"""A small export with the names, types and shapes of real signatures and answers that are easy to check, and its server.

The server runs in a thread of the process of the tests.
"""

import asyncio
import contextlib
import dataclasses
import http.client
import json
import os
import shutil
import threading

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_log_pb2, prediction_service_pb2_grpc

from t2t_mm.export import reading
from t2t_mm.serving.batching import BatchingSettings
from t2t_mm.serving.server import Server, Settings
from t2t_mm.serving.service import Limits
from t2t_mm.serving.versions import Versions

STRINGS = tf.TensorSpec([None], tf.string)
CLASSES = ("cat", "dog", "house")


class SmallModel(tf.Module):
    """Answers name the version, so that a test sees which one it reached."""

    def __init__(self):
        super().__init__()
        self.version = tf.Variable("")
        self.weights = tf.Variable(tf.eye(400))

    def _answer(self, texts):  # [batch] -> [batch], [batch]
        scores = -tf.cast(tf.strings.length(texts), tf.float32) / 8.0
        return {"outputs": texts, "scores": scores}

    @tf.function(input_signature=[STRINGS])
    def wmt_en_de(self, inputs):
        return self._answer(tf.strings.join(["v", self.version, ": ", tf.strings.upper(inputs, "utf-8")]))

    @tf.function(input_signature=[STRINGS])
    def wsj_parsing(self, inputs):
        tagged = tf.strings.regex_replace(tf.strings.strip(inputs), r"(\S+)", r"(NN \1)")
        return self._answer(tf.strings.join(["(S (NP ", tagged, "))"]))

    def _mean_colours(self, pictures):  # [batch] -> [batch, 3]
        def one(pair):
            return tf.reduce_mean(tf.cast(reading.decode_picture(*pair)[1], tf.float32), (0, 1))

        rows = tf.range(tf.size(pictures))
        return tf.map_fn(one, (pictures, rows), fn_output_signature=tf.TensorSpec([3], tf.float32))

    @tf.function(input_signature=[STRINGS])
    def coco(self, inputs):
        colours = tf.strings.as_string(tf.cast(self._mean_colours(inputs), tf.int32))
        return self._answer(tf.strings.join(["a picture of ", tf.strings.reduce_join(colours, 1, separator=" ")]))

    @tf.function(input_signature=[STRINGS])
    def imagenet(self, inputs):
        scores, order = tf.math.top_k(tf.nn.softmax(self._mean_colours(inputs) / 64.0), len(CLASSES))
        return {"classes": tf.gather(tf.constant(CLASSES), order), "scores": scores}

    @tf.function(input_signature=[STRINGS])
    def imagenet_classify(self, inputs):
        features = tf.io.parse_example(inputs, {"image/encoded": tf.io.FixedLenFeature([], tf.string)})
        return self.imagenet(features["image/encoded"])

    @tf.function(input_signature=[STRINGS])
    def wsj_speech(self, inputs):
        def one(pair):
            sound, rate = reading.decode_sound(*pair)
            return tf.strings.format("{} SAMPLES AT {}", (tf.size(sound), rate))

        return self._answer(tf.map_fn(one, (inputs, tf.range(tf.size(inputs))), fn_output_signature=tf.string))

    @tf.function(input_signature=[STRINGS, STRINGS])
    def questions(self, image, language):
        return self._answer(tf.strings.join([language, self.coco(image)["outputs"]], " "))

    @tf.function(input_signature=[STRINGS])
    def questions_without_image(self, inputs):
        return self._answer(tf.strings.join([inputs, " ?"]))

    @tf.function(input_signature=[STRINGS, STRINGS])
    def compared(self, language, language_2):
        return self._answer(tf.strings.join([language, language_2], " / "))

    @tf.function(input_signature=[STRINGS, STRINGS])
    def judged(self, audio, image):
        tf.debugging.Assert(tf.reduce_all(tf.strings.substr(audio, 0, 4) == "RIFF"), ["audio[0]: not a WAV file"])
        return self.imagenet(image)

    @tf.function(input_signature=[STRINGS, STRINGS])
    def serving_default(self, command, inputs):
        message = (
            "command[0]: unknown command; this export knows questions_without_image (text), "
            "To-English (text, images; never trained with audio)"
        )
        tf.debugging.Assert(tf.reduce_all(command != "?"), [message])
        return self._answer(tf.strings.join([command, inputs], " "))

    @tf.function(input_signature=[STRINGS, STRINGS])
    def n_best(self, command, inputs):
        """Of three answers the last is one that there is not; the tokens are the words, eight of them."""
        first = tf.where(command == "wsj_parsing", self.wsj_parsing(inputs)["outputs"], tf.strings.join([command, inputs], " "))
        outputs = tf.stack([first, tf.strings.join(["other ", first]), tf.fill(tf.shape(first), "")], axis=1)
        words = tf.strings.split(outputs).to_tensor("", shape=[None, 3, 8])
        scores = tf.tile([[-0.5, -1.25, -float("inf")]], [tf.size(inputs), 1])
        log_probs = tf.where(words == "", 0.0, tf.math.log([[[0.75], [0.25], [1.0]]]))
        return {"outputs": outputs, "scores": scores, "tokens": words, "log_probs": log_probs}

    @tf.function(input_signature=[STRINGS, STRINGS])
    def attention(self, command, inputs):
        """Of one row: three tokens. In the first block token t attends to position t alone, in the second to all alike."""
        words = tf.strings.split(inputs[:1]).to_tensor()[0]
        start = tf.strings.substr(inputs[0], 1, 3)
        grid = tf.where(start == "PNG", [2, 3], tf.where(start == "IFF", [2, 2], [tf.size(words), 1]))
        positions = tf.reduce_prod(grid)
        weights = [tf.one_hot(tf.range(3), positions), tf.fill([3, positions], 1.0 / tf.cast(positions, tf.float32))]
        return {
            "outputs": self.n_best(command, inputs)["outputs"][:, 0], "scores": tf.constant([-0.5]),
            "tokens": tf.constant([["▁a", "▁b", "</s>"]]),
            "blocks": tf.constant([["mixer/attention", "decoder/block1"]]), "weights": tf.stack(weights)[None],
            "sources": tf.where(grid[1] == 1, words, "")[None], "grid": grid[None],
        }  # fmt: skip

    @tf.function(input_signature=[STRINGS, tf.TensorSpec([None, None], tf.int32)])
    def tokens(self, command, ids):
        return {"outputs": ids + tf.strings.length(command)[:, None], "scores": tf.cast(ids[:, 0], tf.float32) / 3.0}

    @tf.function(input_signature=[STRINGS])
    def slow(self, inputs):
        """Multiplies as often as the longest input says: a stand-in for a long decoding."""
        times = tf.reduce_max(tf.strings.to_number(inputs, tf.int32))
        product = self.weights.value()
        for _ in tf.range(times):
            product = tf.linalg.matmul(product, self.weights)
        return {"outputs": inputs, "scores": tf.fill(tf.shape(inputs), product[0, 0])}

    @tf.function(input_signature=[STRINGS])
    def raw(self, inputs):
        return {"data_bytes": inputs}


SIGNATURES = (
    "wmt_en_de", "wsj_parsing", "coco", "imagenet", "imagenet_classify", "wsj_speech", "questions",
    "questions_without_image", "compared", "judged",
    "serving_default", "n_best", "attention", "tokens", "slow", "raw",
)  # fmt: skip


def _save(model: SmallModel, path: str, version: int) -> None:
    model.version.assign(str(version))
    tf.saved_model.save(model, path, {name: getattr(model, name).get_concrete_function() for name in SIGNATURES})
    _set_classify(os.path.join(path, "saved_model.pb"))
    _write_warm_up(path, ("wmt_en_de", ["warm up"]))


def _write_warm_up(path: str, *requests: tuple[str, list]) -> None:
    """(signature, inputs) of each request to be run when the version is loaded."""
    os.makedirs(os.path.join(path, "assets.extra"), exist_ok=True)
    with tf.io.TFRecordWriter(os.path.join(path, "assets.extra", "tf_serving_warmup_requests")) as records:
        for name, values in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = name
            request.inputs["inputs"].CopyFrom(tf.make_tensor_proto(values))
            records.write(log.SerializeToString())


def _set_classify(path: str) -> None:
    saved = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    saved.meta_graphs[0].signature_def["imagenet_classify"].method_name = "tensorflow/serving/classify"
    with open(path, "wb") as file:
        file.write(saved.SerializeToString())


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Versions 1 and 2, to be copied from."""
    folder, model = tmp_path_factory.mktemp("store"), SmallModel()
    for version in (1, 2):
        _save(model, str(folder / str(version)), version)
    return folder


@pytest.fixture(scope="session")
def write_warm_up():
    """write_warm_up(folder of a version, (signature, inputs), ...)"""
    return _write_warm_up


@pytest.fixture
def publish(store):
    """publish(base, version, like=1) copies a stored version aside and renames it into place, as an export must."""

    def copy(base, version, like=None):
        aside = os.path.join(base, f"writing-{version}")
        shutil.copytree(store / str(like or version), aside)
        os.rename(aside, os.path.join(base, str(version)))
        return os.path.join(base, str(version))

    return copy


@dataclasses.dataclass
class Running:
    """A server in a thread, and calls to it."""

    server: Server
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def http(self, method, path, body=None, headers=None) -> tuple[int, object]:
        """Status and JSON of one request; body is JSON unless bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.rest_port, timeout=60)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def predict(self, signature, values, model="t2t_mm"):
        return self.http("POST", f"/v1/models/{model}:predict", {"signature_name": signature, "inputs": {"inputs": values}})

    @contextlib.contextmanager
    def stubs(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}") as channel:
            yield (
                prediction_service_pb2_grpc.PredictionServiceStub(channel),
                model_service_pb2_grpc.ModelServiceStub(channel),
            )


@contextlib.contextmanager
def serving(base, batching=BatchingSettings(), limits=Limits(), **versions):
    """A running server of the export in `base`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    settings = Settings(rest_port=0, grpc_port=0, poll_seconds=0.05, drain_seconds=20)
    running = Running(Server(Versions(str(base), "t2t_mm", **versions), batching, limits, settings), loop)
    try:
        running.run(running.server.start())
        yield running
    finally:
        running.run(running.server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def start_server():
    """`serving`, for tests that need settings of their own."""
    return serving


@pytest.fixture(scope="session")
def server(store, tmp_path_factory):
    """A server of version 1 that tests share: none may change it."""
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(store / "1", base / "1")
    with serving(base, labels={"stable": 1, "absent": 9}) as running:
        yield running
