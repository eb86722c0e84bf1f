"""Tests exports as a server uses them: loaded without t2t_mm, and compared with the answers of bin/decode.py."""

import copy
import dataclasses
import errno
import functools
import io
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import types
import wave

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis import prediction_log_pb2

from t2t_mm import experiment
from t2t_mm.common.description import load_description
from t2t_mm.common.errors import RunError
from t2t_mm.corpora.example import Example, Report
from t2t_mm.corpora.treebank import delinearise, to_brackets
from t2t_mm.export import operations, save, warmup
from t2t_mm.export.answers import Answers, Decoding
from t2t_mm.inference.predictor import Predictor, hypotheses, predict
from t2t_mm.inference.search import length_penalty
from t2t_mm.input.buckets import BatchSettings
from t2t_mm.input.features import AudioFeatures
from t2t_mm.input.tokenizer import END_ID, Tokenizer, train_vocabulary
from t2t_mm.layers.attention import AttentionBlock
from t2t_mm.layers.convolution import ConvBlock
from t2t_mm.layers.moe import MixtureOfExperts
from t2t_mm.modalities.audio import AudioInput
from t2t_mm.modalities.categorical import CategoricalOutput
from t2t_mm.modalities.image import ImageInput
from t2t_mm.model import MultiModel
from t2t_mm.problem import Problem
from t2t_mm.run.checkpoints import Checkpoints
from t2t_mm.run.folder import all_variables, load_trained, prepare_folder, use_folder

SENTENCES = ["a dog (b) sleeps .", "the small cat", "Ein Hund schläft im Garten .", "one two three", "it"]
NAMES = ["n01", "n02", "n03", "n04", "n05", "n06", "n07"]
LENGTH = 9


class Pictures:
    def class_names(self):
        return NAMES


PROBLEMS = (
    Problem("wmt_en_de", None, "language", "text", "To-German"),
    Problem("wmt_de_en", None, "language", "text", "To-English"),
    Problem("wmt_en_fr", None, "language", "text", "To-French"),
    Problem("wmt_fr_en", None, "language", "text", "To-English"),
    Problem("wsj_parsing", None, "language", "tree", "To-Parse-Tree"),
    Problem("coco", None, "image", "text", "To-English"),
    Problem("imagenet", Pictures(), "image", "class", "To-Class"),
    Problem("wsj_speech", None, "audio", "text", "To-English"),
)
JOINT = (
    Problem("asked", None, ("image", "language"), "text", "To-English"),
    Problem("judged", Pictures(), ("audio", "image"), "class", "To-Class"),
    Problem("compared", None, ("language", "language"), "text", "To-English"),
)


def picture(seed, format, size=(50, 37)):
    data, rng = io.BytesIO(), np.random.default_rng(seed)
    # Of the size that the model takes: resizing differs from Pillow's by a grey level here and there, which turns the answers
    # of random weights (tests/export/test_reading.py compares it).
    Image.fromarray(rng.integers(0, 256, (*size, 3)).astype("uint8")).resize((32, 32)).save(data, format)
    return data.getvalue()


def sound(seed, rate, seconds):
    data, rng = io.BytesIO(), np.random.default_rng(seed)
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((rng.normal(size=int(rate * seconds)) * 3000).astype("<i2").tobytes())
    return data.getvalue()


INPUTS = {
    "language": [sentence.encode() for sentence in SENTENCES[:3]],
    "image": [picture(0, "JPEG"), picture(1, "PNG"), picture(2, "JPEG", (8, 90))],
    "audio": [sound(0, 16000, 0.3), sound(1, 44100, 0.2), sound(2, 8000, 0.45)],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder as training leaves it, with random weights that answer variously: (experiment, folder)."""
    return make_run(str(tmp_path_factory.mktemp("run")))


def make_run(folder, problems=PROBLEMS, **settings):
    symbols = ["<(S>", "<)S>", "<(NP>", "<)NP>", "<NN>", "<DT>"]
    train_vocabulary(SENTENCES, symbols, os.path.join(folder, "vocabulary"), 320)
    conv = functools.partial(ConvBlock, kernel_large=3, dilation=2)
    model = functools.partial(
        MultiModel, depth=16, encoder_blocks=1, mixer_blocks=1, decoder_blocks=1, conv_block=conv,
        attention_block=functools.partial(AttentionBlock, heads=2, convs=1),
        mixture=functools.partial(MixtureOfExperts, num_experts=4, chosen=2, hidden=16),
        image=functools.partial(ImageInput, filters=(4, 8)),
        audio=functools.partial(AudioInput, blocks=2, least_width=4, frequencies="channels"),
        categorical=functools.partial(CategoricalOutput, widths=(16, 16)), **settings,
    )  # fmt: skip
    made = experiment.Experiment(
        problems, os.path.join(folder, "vocabulary"), model,
        BatchSettings(max_length=40, max_frames=120, image_size=32), AudioFeatures(bins=10),
    )  # fmt: skip
    prepare_folder(folder, made, made.describe(), "", 0)
    keras.utils.set_random_seed(3)
    network = made.build_model(load_description(folder))
    rng = np.random.default_rng(3)
    for weight in network.trainable_weights:
        if weight.path.endswith(("gate", "language_out/kernel")):
            weight.assign(rng.normal(size=weight.shape).astype("float32"))
    checkpoint = tf.train.Checkpoint(
        variables=all_variables(network),
        done=tf.Variable(1, dtype=tf.int64),
        seconds=tf.Variable(1.0, dtype=tf.float64),
    )
    Checkpoints(checkpoint, folder).save(1)
    return use_folder(made, folder), folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Two versions of all problems, the first by greedy and the second by beam search, this with two answers to each input,
    with attention weights and with parses constrained to trees: {beam size: folder}."""
    target = str(tmp_path_factory.mktemp("exports"))
    more = {"n_best": 2, "attention": True, "constrain_trees": True}
    return {
        beam: save.export(*run, target, (), Decoding(beam, 0.6, LENGTH), run_warmup=False, **(more if beam > 1 else {}))
        for beam in (1, 3)
    }


CLIENT = """
    import pickle, sys
    sys.modules["t2t_mm"] = None  # importing it fails
    import tensorflow as tf, tensorflow_text
    tf.compat.v1.disable_eager_execution()
    settings = tf.compat.v1.ConfigProto()
    settings.graph_options.rewrite_options.disable_meta_optimizer = True  # as bin/serve.py; starts faster
    loaded = {}
    for folder in sys.argv[1:]:  # as servers load it
        session = tf.compat.v1.Session(graph=tf.Graph(), config=settings)
        with session.graph.as_default():
            loaded[folder] = session, tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    answers = []
    for folder, signature, inputs in pickle.load(sys.stdin.buffer):
        try:
            session, meta = loaded[folder]
            served = meta.signature_def[signature]
            feeds = {served.inputs[name].name: value for name, value in inputs.items()}
            answers.append(session.run({name: found.name for name, found in served.outputs.items()}, feeds))
        except tf.errors.InvalidArgumentError as error:
            answers.append(error.message)
    pickle.dump(answers, sys.stdout.buffer)
"""


def serve(requests):
    """The answers of a fresh process that has TensorFlow and TF.Text, but not this package.

    requests: (export's folder, signature, inputs).
    """
    command = [sys.executable, "-c", textwrap.dedent(CLIENT), *{folder for folder, *_ in requests}]
    done = subprocess.run(command, input=pickle.dumps(requests), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return pickle.loads(done.stdout)


@pytest.fixture(scope="module")
def decoded(run, tmp_path_factory):
    """What bin/decode.py answers: (problem, beam size) -> the answer to each of INPUTS, each decoded alone; of a search that
    keeps several and has no classes, its two best hypotheses."""
    return decode_with(run, tmp_path_factory.mktemp("inputs"))


def decode_with(run, files):
    made, folder = run
    network, _, _ = load_trained(made, folder)
    tokenizer = Tokenizer(made.vocabulary)
    # Where a beam keeps several hypotheses, parses are constrained to trees, too.
    predictors = {
        beam: Predictor(network, tokenizer, beam, 0.6, LENGTH, n_best=min(2, beam), constrain_trees=beam > 1) for beam in (1, 3)
    }

    @functools.cache
    def answers(name, beam):
        problem, found = made.problem(name), []
        ask = predict if beam == 1 else functools.partial(hypotheses, log_probs=True, looks=problem.targets != "class")
        for number, data in enumerate(INPUTS[problem.inputs]):
            text = data.decode() if problem.inputs == "language" else str(files / f"{name}{number}")
            if problem.inputs != "language":
                (files / f"{name}{number}").write_bytes(data)
            one = [Example(text, 0 if problem.targets == "class" else "", "here")]
            report = Report(name, 0)
            answer = ask(predictors[beam], problem, one, tokenizer, made.audio, made.batches, report)[0]
            if problem.targets == "tree":
                tree = lambda answer: to_brackets(delinearise(answer.split(), text.split())[0])  # noqa: B023, E731
                several = [dataclasses.replace(one, answer=tree(one.answer)) for one in answer] if beam > 1 else []
                answer = several or tree(answer)
            found.append(answer)
        return found

    return answers


@pytest.fixture(scope="module")
def served(exported):
    """One fresh process: every request of these tests, and the answers by the request's name.

    "NAME 3" are all inputs of a problem, "NAME 1" is the second alone, both by greedy search; "NAME 3, beam" and
    "NAME 1, beam" are the same by beam search.
    """
    requests = {}
    for problem in PROBLEMS:
        for size, inputs in ((3, INPUTS[problem.inputs]), (1, INPUTS[problem.inputs][1:2])):
            requests[f"{problem.name} {size}"] = requests[f"{problem.name} {size}, beam"] = (
                problem.name, {"inputs": inputs}
            )  # fmt: skip
    rows = [(p.name, data) for p in PROBLEMS for data in INPUTS[p.inputs][:2]]
    requests["mixed"] = "serving_default", {"command": [name for name, _ in rows], "inputs": [data for _, data in rows]}
    # Not in the order of the modalities.
    several = [row for row in reversed(rows) if row[0] != "imagenet"]
    requests["several, beam"] = "n_best", {"command": [name for name, _ in several], "inputs": [row for _, row in several]}
    wrong = {"command": ["To-German", "To-Class"], "inputs": [*INPUTS["language"][:1], *INPUTS["image"][:1]]}
    requests["looked, beam"] = "attention", requests["several, beam"][1]
    requests["looked at classes, beam"] = "attention", wrong
    requests["looked at many, beam"] = "attention", {"command": ["To-German"] * 17, "inputs": ["a"] * 17}
    requests["several of classes, beam"] = "n_best", wrong
    requests["several unpaired, beam"] = "n_best", {"command": ["To-German"], "inputs": ["a", "b"]}
    requests["token"] = "serving_default", {"command": ["To-German"], "inputs": INPUTS["language"][:1]}
    requests["unknown"] = "serving_default", {"command": ["To-German", "To-Klingon"], "inputs": ["a", "b"]}
    requests["unfit"] = "serving_default", {"command": ["imagenet"], "inputs": ["a dog"]}
    examples = [
        tf.train.Example(
            features=tf.train.Features(feature={"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))})
        ).SerializeToString()
        for data in INPUTS["image"]
    ]
    requests["classify"] = "imagenet_classify", {"inputs": examples}
    for name, signature, data in (
        ("no picture", "coco", b"GIF89a"), ("no sound", "wsj_speech", b"RIFFxxxxWAVX"),
        ("no text", "wmt_en_de", b"\xff\xff"), ("long", "wmt_en_de", b"dog " * 100),
        ("long sound", "wsj_speech", sound(0, 16000, 2)), ("rate", "wsj_speech", sound(0, 10, 2)),
        ("cut picture", "coco", INPUTS["image"][2][:-50]), ("cut sound", "wsj_speech", INPUTS["audio"][2][:-50]),
    ):  # fmt: skip
        modality = next(problem.inputs for problem in PROBLEMS if problem.name == signature)
        requests[name] = signature, {"inputs": [INPUTS[modality][0], data]}
    ids = np.array([[5, 300, 7, 1, 0, 0], [5, 6, 7, 8, 9, 1]], np.int32)
    requests["ids"] = "tokens", {"command": ["To-German", "To-English"], "ids": ids}
    requests["ids alone"] = "tokens", {"command": ["To-German"], "ids": ids[:1, :4]}
    requests["bad id"] = "tokens", {"command": ["To-German"], "ids": np.array([[9999, 1]], np.int32)}
    requests["second bad id"] = "tokens", {"command": ["To-German"] * 2, "ids": np.array([[5, 5, 1], [9999, 5, 1]], np.int32)}
    for name, width, last in (("many ids", 50_000, 5), ("no id", 3, 0), ("only the end", 3, END_ID), ("no ids", 0, 0)):
        wrong = np.full([2 if width == 3 else 1, width], 5, np.int32)
        wrong[-1, :] = last
        requests[name] = "tokens", {"command": ["To-German"] * len(wrong), "ids": wrong}
    requests["long command"] = "serving_default", {"command": ["a" * 10**6], "inputs": ["a"]}
    requests["huge text"] = "wmt_en_de", {"inputs": ["a dog", "a " * 10**6]}
    requests["huge tree"] = "serving_default", {"command": ["wsj_parsing"], "inputs": ["a " * 10**6]}
    requests["empty"], requests["blank"] = (("wmt_en_de", {"inputs": ["a dog", text]}) for text in ("", " \t "))
    requests["many rows"] = "wmt_en_de", {"inputs": ["a"] * 257}
    requests["no rows"] = "wsj_parsing", {"inputs": tf.zeros([0], tf.string).numpy()}
    requests["unpaired"] = "serving_default", {"command": ["To-German"], "inputs": ["a", "b"]}
    folders = {name: exported[3 if name.endswith("beam") else 1] for name in requests}
    return dict(zip(requests, serve([(folders[name], *asked) for name, asked in requests.items()])))


def texts(values):
    return [value.decode() for value in values]


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.targets != "class"], ids=lambda p: p.name)
def test_answers_are_those_of_decode(served, decoded, problem, beam):
    """Three of mixed lengths, and one that must not depend on its neighbours."""
    search = ", beam" if beam > 1 else ""
    together, alone = served[f"{problem.name} 3{search}"], served[f"{problem.name} 1{search}"]
    expected = decoded(problem.name, beam) if beam == 1 else [best.answer for best, _ in decoded(problem.name, beam)]
    assert texts(together["outputs"]) == expected and texts(alone["outputs"]) == expected[1:2]
    assert together["scores"].shape == (3,)
    np.testing.assert_allclose(alone["scores"], together["scores"][1:2], atol=1e-4)
    assert problem.inputs != "language" or len(set(expected)) > 1


@pytest.mark.parametrize("request_name", ["imagenet 3", "imagenet 3, beam"])
def test_classes_are_those_of_decode(served, decoded, request_name):
    answer = served[request_name]
    for classes, scores, log_p in zip(answer["classes"], answer["scores"], decoded("imagenet", 1)):
        order = np.argsort(-log_p)[:5]
        assert texts(classes) == [NAMES[index] for index in order]
        np.testing.assert_allclose(scores, np.exp(log_p[order]), atol=1e-3)
    np.testing.assert_array_equal(served["classify"]["classes"], answer["classes"])
    np.testing.assert_allclose(served["classify"]["scores"], answer["scores"], atol=1e-6)
    np.testing.assert_allclose(served[request_name.replace("3", "1")]["scores"][0], answer["scores"][1], atol=1e-5)


def test_parses_that_have_room_are_trees_if_they_are_constrained(served):
    """The third sentence has six words, for whose tree there is no room."""
    words = [len(sentence.split()) for sentence in SENTENCES[:3]]
    assert words == [5, 3, 6] and LENGTH == 5 + 1 + 3
    trees = texts(served["wsj_parsing 3, beam"]["outputs"])
    assert [tree.count("(XX ") for tree in trees[:2]] == [0, 0] and "(XX " in trees[2]
    for tree, count in zip(trees, words):
        assert len(re.findall(r"\(\S+ [^()\s]+\)", tree)) == count
    assert all("(XX " in tree for tree in texts(served["wsj_parsing 3"]["outputs"]))


def test_neighbours_of_ids_change_nothing(served):
    np.testing.assert_array_equal(served["ids"]["outputs"][:1], served["ids alone"]["outputs"])
    assert served["ids"]["outputs"].shape == (2, LENGTH)


def test_one_endpoint_answers_any_problem(served):
    expected = []
    for problem in PROBLEMS:
        answer = served[f"{problem.name} 3"]
        expected += list(answer["classes"][:2, 0] if problem.targets == "class" else answer["outputs"][:2])
    assert list(served["mixed"]["outputs"]) == expected
    assert served["token"]["outputs"][0] == served["wmt_en_de 3"]["outputs"][0]


def test_several_answers_are_those_of_decode(served, decoded):
    answer = served["several, beam"]
    names = [problem.name for problem in reversed(PROBLEMS) if problem.targets != "class"]
    expected = [answers for name in names for answers in reversed(decoded(name, 3)[:2])]
    assert {name: found.shape for name, found in answer.items()} == {
        "outputs": (14, 2), "scores": (14, 2), "tokens": (14, 2, LENGTH), "log_probs": (14, 2, LENGTH)
    }  # fmt: skip
    for row, answers in enumerate(expected):
        assert texts(answer["outputs"][row]) == [one.answer for one in answers]
        np.testing.assert_allclose(answer["scores"][row], [one.score for one in answers], atol=1e-3)
        for place, one in enumerate(answers):
            room = LENGTH - len(one.pieces)
            assert texts(answer["tokens"][row, place]) == [*one.pieces, *[""] * room]
            np.testing.assert_allclose(answer["log_probs"][row, place], [*one.log_probs, *[0.0] * room], atol=1e-3)
    assert answer["outputs"][-2:, 0].tolist() == served["wmt_en_de 3, beam"]["outputs"][1::-1].tolist()


def test_attention_weights_are_those_of_decode(served, decoded):
    """Of sources of different modalities and lengths in one request, each of which is looked at alone by `decoded`."""
    answer, names = served["looked, beam"], [problem.name for problem in reversed(PROBLEMS) if problem.targets != "class"]
    expected = [best for name in names for best, _ in reversed(decoded(name, 3)[:2])]
    assert texts(answer["outputs"]) == [one.answer for one in expected]
    np.testing.assert_allclose(answer["scores"], [one.score for one in expected], atol=1e-3)
    for row, one in enumerate(expected):
        blocks, tokens, positions = one.looks.weights.shape
        assert texts(answer["blocks"][row]) == one.looks.blocks and blocks == 2
        assert texts(answer["tokens"][row]) == one.pieces + [""] * (answer["tokens"].shape[1] - tokens)
        found = answer["weights"][row]
        np.testing.assert_allclose(found[:, :tokens, :positions], one.looks.weights, atol=1e-3)
        assert not found[:, tokens:].any() and not found[:, :, positions:].any()
        pieces = one.looks.pieces + [""] * (answer["weights"].shape[3] - len(one.looks.pieces))
        assert texts(answer["sources"][row]) == pieces
        assert tuple(answer["grid"][row]) == (one.looks.grid or (positions, 1))
    assert len({one.looks.weights.shape[2] for one in expected}) > 2 and len(set(map(tuple, answer["grid"]))) > 3


@pytest.mark.parametrize(
    "request_name,message",
    [
        ("unknown", 'command[1]: unknown command "To-Klingon"; this export knows To-Class (images), To-English (text, '),
        ("unknown", "audio), To-French (text; never trained with images, audio), "),
        ("unfit", 'inputs[0]: "imagenet" does not take text'),
        ("no picture", "inputs[1]: neither a JPEG nor a PNG image"),
        ("no sound", "inputs[1]: not a WAV file"),
        ("no text", "inputs[1]: neither UTF-8 text nor a JPEG, PNG or WAV file"),
        ("long", " tokens; at most 40 are allowed"),
        ("long sound", "inputs[1]: a recording of 2.00 seconds; at most 1.22 seconds are allowed"),
        ("rate", "inputs[1]: a sample rate outside 1000 to 192000 Hz"),
        ("cut picture", "inputs[1]: a damaged or unsupported JPEG or PNG image; save it again"),
        ("cut sound", "inputs[1]: a damaged or truncated WAV file"),
        ("bad id", "ids[0]: an id outside 0 to 319"),
        ("second bad id", "ids[1]: an id outside 0 to 319"),
        ("many ids", "ids[0]: 50000 tokens; at most 40 are allowed"),
        ("no id", "ids[1]: no tokens except padding and end"),
        ("only the end", "ids[1]: no tokens except padding and end"),
        ("no ids", "ids[0]: no tokens except padding and end"),
        ("long command", "a..."),
        ("huge text", "inputs[1]: a text of more than 2560 bytes, which is longer than the limit of 40 tokens"),
        ("huge tree", "inputs[0]: a text of more than 2560 bytes"),
        ("empty", "inputs[1]: an empty text"),
        ("blank", "inputs[1]: an empty text"),
        ("many rows", "inputs: 257 in one request; 1 to 256 are allowed"),
        ("no rows", "inputs: 0 in one request; 1 to 256 are allowed"),
        ("unpaired", "command and inputs differ in length"),
        ("several unpaired, beam", "command and inputs differ in length"),
        ("looked at classes, beam", 'command[1]: "To-Class" answers with classes; attention supports only texts and trees'),
        ("looked at many, beam", "command: 17 in one request; attention supports 1 to 16"),
        ("several of classes, beam", 'command[1]: "To-Class" answers with classes; n_best supports only texts and trees'),
    ],
)
def test_the_row_at_fault_is_named(served, request_name, message):
    assert message in served[request_name].replace('\\"', '"')


def test_whom_tf_loads_answers_as_servers_do(exported, served):
    """`tf.saved_model.load` has functions of its own where signatures share a part of the graph (`sharing`)."""
    loaded = tf.saved_model.load(exported[1])
    for name in ("wmt_de_en", "wsj_parsing"):
        found = loaded.signatures[name](tf.constant(INPUTS["language"]))
        np.testing.assert_array_equal(found["outputs"], served[f"{name} 3"]["outputs"])


def test_a_command_in_the_encoder_is_that_of_each_row(tmp_path):
    """The rows of one request have different commands and modalities, so each has to be encoded with its own."""
    kept = [problem for problem in PROBLEMS if problem.name in ("wmt_en_de", "wmt_fr_en", "coco", "imagenet")]
    run = make_run(str(tmp_path / "run"), [*kept, JOINT[0]], command_at="both", classes_from="encoder")
    decoded = decode_with(run, tmp_path)
    version = save.export(*run, str(tmp_path), (), Decoding(3, 0.6, LENGTH), run_warmup=False, n_best=2, attention=True)
    answer = tf.saved_model.load(version).signatures
    rows = [(problem, number) for number in (0, 1) for problem in reversed(kept)]
    written = [(problem, number) for problem, number in rows if problem.targets != "class"]
    best = [decoded(problem.name, 3)[number][0] for problem, number in written]

    def asked(rows):
        inputs = [INPUTS[problem.inputs][number] for problem, number in rows]
        return {"command": tf.constant([problem.name for problem, _ in rows]), "inputs": tf.constant(inputs)}

    for name in ("n_best", "attention"):
        found = answer[name](**asked(written))
        outputs, scores = (found[key].numpy().reshape([len(written), -1])[:, 0] for key in ("outputs", "scores"))
        assert texts(outputs) == [one.answer for one in best]
        np.testing.assert_allclose(scores, [one.score for one in best], atol=1e-3)
    expected = iter(best)
    outputs = texts(answer["serving_default"](**asked(rows))["outputs"].numpy())
    for (problem, number), output in zip(rows, outputs):
        if problem.targets == "class":
            assert output == NAMES[int(np.argmax(decoded(problem.name, 1)[number]))]
        else:
            assert output == next(expected).answer
    for problem in kept:
        found = answer[problem.name](tf.constant(INPUTS[problem.inputs]))
        if problem.targets != "class":
            assert texts(found["outputs"].numpy()) == [several[0].answer for several in decoded(problem.name, 3)]
    # The encoder hears the command: the same text has other answers, and other scores of the same answer.
    ids = tf.constant([[5, 9, 7, 1]] * 2)
    found = answer["tokens"](command=tf.constant(["To-German", "To-English"]), ids=ids)
    assert abs(found["scores"][0] - found["scores"][1]) > 1e-3
    given = {"image": tf.constant(INPUTS["image"][:2]), "language": tf.constant(INPUTS["language"][:2])}
    assert answer["asked"](**given)["outputs"].shape == [2]


def test_an_export_that_reads_the_mean_answers_as_decode_does(tmp_path):
    kept = [problem for problem in PROBLEMS if problem.name in ("wmt_en_de", "coco")]
    made, folder = make_run(str(tmp_path / "run"), kept, mean_share=0.5)
    # As with --gin_param; what the trained model needs only in training may be left out.
    of_mean = copy.copy(made)
    of_mean.model = functools.partial(made.model, reads="mean", mean_share=0.0)
    run = of_mean, folder
    with pytest.raises(RunError, match=r"does not attend to positions of its source \(reads='mean'\)"):
        save.export(*run, str(tmp_path), (), Decoding(1, 0.6, LENGTH), run_warmup=False, attention=True)
    decoded, positions = decode_with(run, tmp_path), decode_with((made, folder), tmp_path)
    version = save.export(*run, str(tmp_path), (), Decoding(1, 0.6, LENGTH), run_warmup=False)
    answer, differ = tf.saved_model.load(version).signatures, False
    for problem in kept:
        found = texts(answer[problem.name](tf.constant(INPUTS[problem.inputs]))["outputs"].numpy())
        assert found == decoded(problem.name, 1)
        differ |= found != positions(problem.name, 1)
    assert differ


def test_constrained_parses_with_words_are_those_of_decode(tmp_path):
    """Also beside other answers, of a sentence without room for its tree, and of one with other white space."""
    german, coco = PROBLEMS[0], PROBLEMS[5]
    parsing = dataclasses.replace(PROBLEMS[4], words_in_trees=True)
    made, folder = run = make_run(str(tmp_path / "run"), [parsing, german, coco])
    length = 34
    decoding = Decoding(2, 0.6, length)
    network, tokenizer = load_trained(made, folder)[0], Tokenizer(made.vocabulary)
    (tmp_path / "picture").write_bytes(INPUTS["image"][0])
    # The graph answers texts before pictures, which is not the order of these rows.
    rows = [
        (coco, str(tmp_path / "picture")), (parsing, "a <DT> dog"), (german, "the cat"), (parsing, "it"),
        (parsing, "it\u3000is  so"), (parsing, "it " * 15),
    ]  # fmt: skip
    expected = []
    for constrained in (True, False):
        predictor = Predictor(network, tokenizer, 2, 0.6, length, constrain_trees=constrained, n_best=2)
        assert not constrained or [not predictor.unconstrained(*row) for row in rows] == [True] * 5 + [False]
        expected.append([])
        for problem, text in rows:
            given = problem, [Example(text, "", "here")], tokenizer, made.audio, made.batches, Report("x")
            [found] = hypotheses(predictor, *given)
            trees = [delinearise(one.answer.split(), text.split()) for one in found] if problem is parsing else []
            answers = [to_brackets(tree) for tree, _ in trees] or [one.answer for one in found]
            assert not constrained or text == rows[5][1] or not any(repaired for _, repaired in trees)
            expected[-1].append((answers, [one.score for one in found], [one.pieces for one in found]))
    (right, free) = expected
    assert [one == other for one, other in zip(right, free)] == [True, False, True, False, False, True]
    version = save.export(*run, str(tmp_path), (), decoding, run_warmup=False, n_best=2, constrain_trees=True)
    answer = tf.saved_model.load(version).signatures
    inputs = [INPUTS["image"][0] if problem is coco else text for problem, text in rows]
    mixed = {"command": tf.constant([problem.name for problem, _ in rows]), "inputs": tf.constant(inputs)}
    found = answer["n_best"](**mixed)
    for row, (answers, scores, pieces) in enumerate(right):
        assert texts(found["outputs"][row].numpy()) == answers
        np.testing.assert_allclose(found["scores"][row], scores, atol=1e-3)
        written = [[piece for piece in texts(one) if piece] for one in found["tokens"][row].numpy()]
        assert written == pieces
    best = [answers[0] for answers, *_ in right]
    assert texts(answer["serving_default"](**mixed)["outputs"].numpy()) == best
    of_trees = [row for row, (problem, _) in enumerate(rows) if problem is parsing]
    alone = answer["wsj_parsing"](tf.constant([rows[row][1] for row in of_trees]))["outputs"].numpy()
    assert texts(alone) == [best[row] for row in of_trees]
    # The ids of a sentence and its command token.
    ids = [tokenizer.processor.EncodeAsIds(text) for text in ("the cat", "it")]
    ids = tf.ragged.constant([[*row, END_ID] for row in ids], tf.int32).to_tensor(0)
    tokens = answer["tokens"](command=tf.constant(["To-German", "To-Parse-Tree"]), ids=ids)
    np.testing.assert_allclose(tokens["scores"], [right[2][1][0], right[3][1][0]], atol=1e-3)
    symbols = [tokenizer.tree_symbols().get(int(piece)) for piece in tokens["outputs"][1]]
    assert to_brackets(delinearise(list(filter(None, symbols)), ["it"])[0]) == best[3]
    # As servers load it, where signatures share a part of the graph.
    asked = [(version, "wsj_parsing", {"inputs": [rows[row][1] for row in of_trees]})]
    asked.append((version, "tokens", {"command": ["To-Parse-Tree"], "ids": ids[1:].numpy()}))
    asked += [(version, "wsj_parsing", {"inputs": ["it", data]}) for data in ("a " * 10**6, b"\xff\xff", " \t ")]
    served = serve(asked)
    assert texts(served[0]["outputs"]) == texts(alone)
    np.testing.assert_array_equal(served[1]["outputs"], tokens["outputs"][1:])
    for error, message in zip(served[2:], ("a text of more than 2560 bytes", "neither UTF-8 text nor", "an empty text")):
        assert f"inputs[1]: {message}" in error


def test_tokens_of_a_command_with_other_answers_are_not_constrained():
    problems = (
        Problem("trees", None, "language", "tree", "To-Tree"), Problem("words", None, "language", "text", "To-Words"),
        Problem("other", None, "language", "tree", "To-Both"), Problem("texts", None, "language", "text", "To-Both"),
    )  # fmt: skip
    answers = object.__new__(Answers)
    vars(answers).update(_problems=problems, _grammar="one", _detokenize=lambda ids: tf.constant(["a", "b", "c"]))
    found = answers._parsed_tokens(tf.constant(["To-Tree", "To-Words", "To-Both"]), None)
    assert texts(found.numpy()) == ["a", "", ""]


@pytest.mark.parametrize(
    "with_words, length, message",
    [
        (
            (False, True),
            99,
            r"trees of b contain the words \(words_in_trees\), and those of a do not. Export them separately",
        ),
        ((False,), 4, r"of at most 4 tokens has no room for any tree. Increase max_length by at least 1\."),
        ((True,), 5, r"of at most 5 tokens has no room for any tree. Increase max_length by at least 1\."),
    ],
)
def test_trees_that_cannot_be_constrained_are_refused_before_the_weights_are_read(
    run, tmp_path, monkeypatch, with_words, length, message
):
    monkeypatch.setattr(save, "load_trained", lambda *_: pytest.fail("the weights were read"))
    problems = [dataclasses.replace(PROBLEMS[4], name=name, words_in_trees=words) for name, words in zip("ab", with_words)]
    made = experiment.Experiment(problems, run[0].vocabulary, None, BatchSettings(), AudioFeatures())
    with pytest.raises(RunError, match=message):
        save.export(made, "absent", str(tmp_path), decoding=Decoding(1, 0.6, length), constrain_trees=True)


def test_a_reduced_model_answers_as_the_whole(run):
    made, folder = run
    whole, description, _ = load_trained(made, folder)
    small = save.reduced(whole, made, description, [made.problem("wsj_parsing"), made.problem("coco")])
    assert small.count_params() < whole.count_params() and small.commands == ("To-English", "To-Parse-Tree")
    ids, pixels = np.array([[5, 7, 9, 1]]), np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    targets = np.array([[4, 8, 1]])
    for modality, features, padding, command in (
        ("language", ids, ids == 0, "To-Parse-Tree"), ("image", pixels, None, "To-English")
    ):  # fmt: skip
        logits = []
        for network in (whole, small):
            encoded, encoded_padding, _, _ = network.encode(modality, features, padding)
            logits.append(network.decode_text(encoded, encoded_padding, command, targets, targets == 0)[0])
        np.testing.assert_allclose(*logits, atol=1e-5)


def test_bfloat16_halves_the_weights(run, served, tmp_path):
    decoding = Decoding(1, 0.6, LENGTH)
    version = save.export(*run, str(tmp_path), ["wmt_en_de"], decoding, "bfloat16", n_best=2)
    assert os.listdir(tmp_path) == ["1"]
    variables = tf.train.load_checkpoint(os.path.join(version, "variables", "variables"))
    types = variables.get_variable_to_dtype_map()
    assert tf.bfloat16 in types.values() and tf.float32 not in types.values()
    shapes = variables.get_variable_to_shape_map()
    count = sum(np.prod(shapes[name]) for name, dtype in types.items() if dtype == tf.bfloat16)
    stored = os.path.getsize(os.path.join(version, "variables", "variables.data-00000-of-00001"))
    assert 2 * count <= stored < 3 * count  # the names of the weights come to it
    signatures = tf.saved_model.load(version).signatures
    scores = signatures["wmt_en_de"](tf.constant(INPUTS["language"]))["scores"]
    np.testing.assert_allclose(scores, served["wmt_en_de 3"]["scores"], rtol=0.1)
    best = signatures["n_best"](command=tf.constant(["To-German"]), inputs=tf.constant(INPUTS["language"][:1]))
    assert best["scores"].shape == (1, 2) and np.all(np.diff(best["scores"]) <= 0)
    lengths = tf.reduce_sum(tf.cast(best["tokens"] != "", tf.int32), axis=-1)
    sums = tf.reduce_sum(best["log_probs"], axis=-1) / length_penalty(lengths, 0.6)
    np.testing.assert_allclose(best["scores"], sums, rtol=1e-4)


def test_answers_beyond_the_last_possible_one_are_empty(run):
    """Of one token, there are as many as the vocabulary has pieces but padding."""
    made, folder = run
    network, tokenizer = load_trained(made, folder)[0], Tokenizer(made.vocabulary)
    alone = [made.problem("wmt_en_de")]
    answers = Answers(network, tokenizer, alone, {}, made.audio, made.batches, Decoding(1, 0.6, 1))
    found = answers.n_best(tokenizer.size + 3)(tf.constant(["To-German"]), tf.constant(["a dog"]))
    possible = tokenizer.size - 1
    assert np.isfinite(found["scores"][0, :possible]).all() and (found["log_probs"][0, :possible] < 0).numpy().all()
    assert (found["tokens"][0, :possible] != "").numpy().all()
    rest = {name: one[0, possible:].numpy().ravel().tolist() for name, one in found.items()}
    assert rest == {"outputs": [b""] * 4, "scores": [-np.inf] * 4, "tokens": [b""] * 4, "log_probs": [0.0] * 4}


@pytest.mark.parametrize(
    "only, more, message",
    [
        (["imagenet"], {"n_best": 2}, "n_best is 2, and none of the problems answers a single input with a text or a tree: im"),
        (["imagenet"], {"attention": True}, "attention is True, and none of the problems answers .* Leave attention out"),
        ([], {"n_best": -1}, "n_best is -1; it must be at least 1, or 0"),
        (["coco"], {"constrain_trees": True}, "constrain_trees is set, and none of the problems answers with trees: coco. Lea"),
    ],
)
def test_answers_that_cannot_be_are_refused_before_the_weights_are_read(tmp_path, monkeypatch, only, more, message):
    monkeypatch.setattr(save, "load_trained", lambda *_: pytest.fail("the weights were read"))
    made = experiment.Experiment(PROBLEMS, "absent", None, BatchSettings(), AudioFeatures())
    with pytest.raises(RunError, match=message):
        save.export(made, "absent", str(tmp_path), only, **more)


def test_signatures_records_and_operations(exported):
    saved = saved_model_pb2.SavedModel()
    with open(os.path.join(exported[1], "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    signatures = saved.meta_graphs[0].signature_def
    served = {name for name in signatures if not name.startswith("__")}
    assert served == {p.name for p in PROBLEMS} | {"serving_default", "tokens", "imagenet_classify"}
    assert signatures["imagenet_classify"].method_name == "tensorflow/serving/classify"
    for name in served:
        ranks = {key: len(value.tensor_shape.dim) for key, value in signatures[name].inputs.items()}
        assert ranks == ({"command": 1, "ids": 2} if name == "tokens" else dict.fromkeys(ranks, 1)), name
    records = [
        prediction_log_pb2.PredictionLog.FromString(data.numpy())
        for data in tf.data.TFRecordDataset(os.path.join(exported[1], warmup.RECORDS))
    ]
    names = [getattr(r, r.WhichOneof("log_type")).request.model_spec.signature_name for r in records]
    assert sorted(names) == sorted(served)
    assert operations.unknown(operations.operations(saved)) == []
    # Signatures that share a part of the graph, so that a server holds it once.
    outputs = {name: signatures[name].outputs["scores"].name for name in served}
    texts = {p.name for p in PROBLEMS if p.inputs == "language"} | {"tokens"}
    assert len({outputs[name] for name in texts}) == 1 and len(set(outputs.values())) == 5
    calls = [node for node in operations.nodes(saved.meta_graphs[0].graph_def) if node.op == "PartitionedCall"]
    assert calls and all(node.attr["_lower_as_multi_device_function"].b for node in calls)


def test_saved_model_cli_shows_what_clients_need(exported, capsys):
    saved_model_cli._show_inputs_outputs(exported[1], "serve", "serving_default")  # of `show`, without its flags
    shown = capsys.readouterr().out
    for name, dtype in (("command", "STRING"), ("inputs", "STRING"), ("outputs", "STRING"), ("scores", "FLOAT")):
        assert re.search(rf"puts\['{name}'\] tensor_info:\s+dtype: DT_{dtype}\s+shape: \(-1\)\s", shown)
    assert shown.count("tensor_info") == 4


def test_an_operation_that_servers_lack_is_found(tmp_path):
    module = tf.Module()
    module.call = tf.function(lambda x: tf.numpy_function(lambda y: y, [x], tf.float32), [tf.TensorSpec([])])
    tf.saved_model.save(module, str(tmp_path))
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    assert operations.unknown(operations.operations(saved)) == ["PyFunc"]


def in_the_way(folder, _):
    (folder / "exports").write_text("")


def full_before(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))


@pytest.mark.parametrize(
    "hinder, message",
    [(in_the_way, "exports is a file; give a folder."), (full_before, "1 MB are free on its disk")],
)
def test_a_folder_that_cannot_be_written_to_is_told_before_the_weights_are_read(tmp_path, monkeypatch, hinder, message):
    hinder(tmp_path, monkeypatch)
    monkeypatch.setattr(save, "load_trained", lambda *_: pytest.fail("the weights were read"))
    made = experiment.Experiment(PROBLEMS, "absent", None, BatchSettings(), AudioFeatures())
    with pytest.raises(RunError, match=message):
        save.export(made, "absent", str(tmp_path / "exports"))


def test_leftovers_of_a_killed_export_are_removed_and_another_ones_are_not(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = socket.gethostname()
    kept = [f".writing-{os.getpid()}@{host}-abc", f".writing-{gone.pid}@elsewhere-abc", "1", "notes"]
    for name in (f".writing-{gone.pid}@{host}-abc", ".writing-abcdef", *kept):
        (tmp_path / name / "variables").mkdir(parents=True)
    save.prepare(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_export_that_ends_in_the_middle_leaves_nothing(tmp_path, error):
    expected = RunError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="cannot be written: no space left on the device" if expected is RunError else None):
        with save._writing(str(tmp_path)) as aside:
            open(os.path.join(aside, "saved_model.pb"), "w").close()
            raise error
    assert os.listdir(tmp_path) == []


def test_a_failed_export_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(operations, "ALLOWED", operations.ALLOWED - {"SentencepieceTokenizeOp"})
    with pytest.raises(RunError, match="SentencepieceTokenizeOp"):
        save.export(run[0], run[1], str(tmp_path), ["wmt_en_de"], Decoding(1, 0.6, 4))
    assert os.listdir(tmp_path) == []


def test_a_command_of_two_class_problems_does_not_take_their_input():
    """Only the names of such problems tell whose classes are meant."""
    problems = (
        Problem("cats", None, "image", "class", "To-Class"), Problem("dogs", None, "image", "class", "To-Class"),
        Problem("topics", None, "language", "class", "To-Class"), Problem("coco", None, "image", "text", "To-English"),
        Problem("parsing", None, "language", "tree", "To-Tree"), Problem("words", None, "language", "text", "To-Tree"),
    )  # fmt: skip
    commands = ["To-Class", "To-English", "To-Tree"]
    answers = object.__new__(Answers)
    vars(answers)["_problems"] = problems
    vars(answers)["_network"] = types.SimpleNamespace(commands=commands, command_id=commands.index)
    vars(answers)["_batches"], vars(answers)["_tokenizer"] = BatchSettings(), types.SimpleNamespace(size=300)
    routes = answers.routes()
    assert routes["cats", "image"][0].labels == "cats" and routes["dogs", "image"][0].labels == "dogs"
    assert routes["To-Class", "language"][0].labels == "topics"
    assert not {("To-Class", "image"), ("To-Tree", "language")} & set(routes)
    route = answers._router()
    route(tf.constant(["cats", "To-Class"]), tf.constant([INPUTS["image"][0], b"a dog"]))
    for command, data, what in (("To-Class", INPUTS["image"][0], "images"), ("To-Tree", b"a dog", "text")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f'"{command}.* does not take {what}'):
            route(tf.constant([command]), tf.constant([data]))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        route(tf.constant(["?"]), tf.constant([b"a dog"]))
    assert "cats (images)" in caught.value.message and "To-Tree" not in caught.value.message
    ids, commands = answers._checked_tokens(tf.constant(["To-Tree"]), tf.constant([[5, 1]]))
    assert commands.numpy().tolist() == [2]


@pytest.fixture(scope="module")
def of_several(run, tmp_path_factory):
    """An export of the problems with several inputs, of the same weights: (their experiment, its folder, the run's)."""
    made, folder = run
    wide = experiment.Experiment([*PROBLEMS, *JOINT], made.vocabulary, made.model, made.batches, made.audio)
    copied = str(tmp_path_factory.mktemp("several") / "run")
    shutil.copytree(folder, copied)
    with open(os.path.join(copied, "model.json")) as file:
        description = json.load(file)
    description["class_names"]["judged"] = NAMES
    network = wide.build_model(description)
    with open(os.path.join(copied, "model.json"), "w") as file:
        json.dump(description, file)
    shutil.rmtree(os.path.join(copied, "checkpoints"))
    checkpoint = tf.train.Checkpoint(
        variables=all_variables(network), done=tf.Variable(1, dtype=tf.int64), seconds=tf.Variable(1.0, dtype=tf.float64)
    )
    Checkpoints(checkpoint, copied).save(1)
    names = [problem.name for problem in JOINT]
    return wide, save.export(wide, copied, str(tmp_path_factory.mktemp("e")), names, Decoding(1, 0.6, LENGTH)), copied


def test_a_problem_with_several_inputs_has_a_signature_that_names_them(of_several, tmp_path):
    wide, version, folder = of_several
    shown = {"image": INPUTS["image"][:2], "language": INPUTS["language"][:2], "audio": INPUTS["audio"][:2]}
    asked = {
        "asked": {"image": shown["image"], "language": shown["language"]},
        "judged": {"audio": shown["audio"], "image": shown["image"]},
        "compared": {"language": shown["language"], "language_2": shown["language"][::-1]},
    }
    requests = [(version, name, inputs) for name, inputs in asked.items()]
    requests += [
        (version, "asked", asked["asked"] | {"language": shown["language"][:1]}),
        (version, "asked", asked["asked"] | {"image": [shown["image"][0], b"GIF89a"]}),
        (version, "compared", asked["compared"] | {"language_2": ["a", ""]}),
    ]
    *answered, unpaired, no_picture, no_text = serve(requests)
    assert "image and language differ in length" in unpaired
    assert "image[1]: neither a JPEG nor a PNG" in no_picture and "language_2[1]: an empty text" in no_text
    network, _, _ = load_trained(wide, folder)
    tokenizer = Tokenizer(wide.vocabulary)
    predictor = Predictor(network, tokenizer, 1, 0.6, LENGTH)
    for found, (name, inputs) in zip(answered, asked.items(), strict=True):
        problem, examples = wide.problem(name), []
        for row in zip(*inputs.values()):
            parts = []
            for number, (modality, data) in enumerate(zip(problem.modality, row)):
                path = tmp_path / f"{name}{len(examples)}{number}"
                path.write_bytes(data)
                parts.append(data.decode() if modality == "language" else str(path))
            examples.append(Example(tuple(parts), 0 if problem.targets == "class" else "", "here"))
        expected = predict(predictor, problem, examples, tokenizer, wide.audio, wide.batches, Report(name, 0))
        if problem.targets == "class":
            for classes, scores, log_p in zip(found["classes"], found["scores"], expected):
                order = np.argsort(-log_p)[:5]
                assert texts(classes) == [NAMES[index] for index in order]
                np.testing.assert_allclose(scores, np.exp(log_p[order]), atol=1e-3)
        else:
            assert texts(found["outputs"]) == expected


@pytest.mark.parametrize("taken", ["n_best", "tokens", "attention", "serving_default", "imagenet_classify", "mine_classify"])
def test_a_problem_with_the_name_of_another_signature_is_refused(tmp_path, taken):
    problems = [*PROBLEMS, Problem(taken, None, "language", "text", "To-English")]
    made = experiment.Experiment(problems, "absent", None, BatchSettings(), AudioFeatures())
    with pytest.raises(RunError, match=f"{taken}: exports use this name for another signature"):
        save.export(made, "absent", str(tmp_path))


def test_what_an_export_cannot_answer_is_refused(of_several, tmp_path):
    wide, _, folder = of_several
    trees = Problem("trees", None, ("image", "language"), "tree", "To-Parse-Tree")
    other = experiment.Experiment([*wide.problems, trees], wide.vocabulary, wide.model, wide.batches, wide.audio)
    with pytest.raises(RunError, match="trees: exports write trees over the words of a text"):
        save.export(other, folder, str(tmp_path), ["trees"])
