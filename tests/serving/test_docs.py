"""Tests the requests in docs/serving.md with the server, and its files with the protocol buffers of TensorFlow Serving."""

import json
import os
import re
import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.config import model_server_config_pb2

from t2t_mm.common.environment import VARIABLES
from t2t_mm.export import limits

CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
with open(os.path.join(CHECKOUT, "docs", "serving.md"), encoding="utf-8") as file:
    BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)


def blocks(language, containing):
    found = [text for kind, text in BLOCKS if kind == language and containing in text]
    assert found
    return found


@pytest.fixture
def folder(tmp_path):
    """The files the examples name."""
    Image.new("RGB", (12, 9), (0, 255, 0)).save(tmp_path / "photo.jpg")
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 1600, "NONE", ""))
        file.writeframes(np.zeros(1600, "<i2").tobytes())
    (tmp_path / "sentences.txt").write_text("the dog runs .\na cat sleeps .\n")
    return tmp_path


def test_tensorflow_serving_gets_the_environment_that_is_measured():
    (docker,) = blocks("bash", "docker run")
    assert dict(re.findall(r"-e (\w+)=(\S+)", docker)).items() >= VARIABLES.items()


def at(server, text):
    """The example with the ports of the test's server."""
    for host in ("localhost", "127.0.0.1"):
        text = text.replace(f"{host}:8501", f"127.0.0.1:{server.server.rest_port}")
        text = text.replace(f"{host}:8500", f"127.0.0.1:{server.server.grpc_port}")
    return text


def run(server, folder, *command):
    environment = {**os.environ, "PYTHONPATH": CHECKOUT, "TF_CPP_MIN_LOG_LEVEL": "3", "no_proxy": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text):
    """The JSON objects that stand one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


@pytest.mark.parametrize("block", blocks("bash", "curl"))
def test_curl(server, folder, block):
    if not shutil.which("curl"):
        pytest.skip("No curl on PATH (apt-get install curl).")
    script = at(server, block).replace("curl ", "curl --silent --show-error ")
    answers = objects(run(server, folder, "bash", "-euo", "pipefail", "-c", script))
    assert len(answers) == block.count("curl ")
    keys = {"predictions", "outputs", "results", "metadata", "model_version_status"}
    assert all(set(answer) & keys for answer in answers)


def test_every_signature_has_a_curl_example():
    text = "".join(blocks("bash", "curl"))
    for name in ("wmt_en_de", "wsj_parsing", "coco", "imagenet", "imagenet_classify", "wsj_speech", "tokens"):
        assert f'"signature_name": "{name}"' in text
    assert '"command": "To-German"' in text


def test_grpc(server, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    predict, classify = blocks("python", "grpc")
    exec(compile(at(server, predict), "docs/serving.md", "exec"), {})
    printed = capsys.readouterr().out
    for expected in ("v1: THE SMALL CAT SLEEPS.", "(S (NP", "a picture of", "b'dog'", "1600 SAMPLES"):
        assert expected in printed
    exec(compile(at(server, classify), "docs/serving.md", "exec"), {})
    printed = capsys.readouterr().out
    assert 'label: "dog"' in printed and "state: AVAILABLE" in printed


def test_predict(server, folder):
    (block,) = blocks("bash", "bin/predict.py")
    commands = [line for line in block.splitlines() if line]
    ports = f"--server=127.0.0.1:{server.server.rest_port}"
    for line in commands:
        if "grpc" in line:  # loading TensorFlow once more would tell no more than test_client.py does
            continue
        line = line.replace("python bin/", f"{sys.executable} {CHECKOUT}/bin/") + f" {ports}"
        assert all("outputs" in answer for answer in objects(run(server, folder, "bash", "-euc", line)))


def test_the_file_of_models_is_one():
    (text,) = blocks("", "model_config_list")
    found = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (config,) = found.model_config_list.config
    assert config.name == "t2t_mm" and config.version_labels["stable"] == 1
    assert list(config.model_version_policy.specific.versions) == [1, 2]


def test_requests_may_be_longer_than_the_batches_that_are_run():
    (text,) = blocks("", "max_execution_batch_size")
    sizes = dict(re.findall(r"^(\w+) \{ value: (\w+) \}$", text, re.MULTILINE))
    assert int(sizes["max_batch_size"]) == limits.MOST_ROWS
    assert int(sizes["max_execution_batch_size"]) == limits.MOST_LOOKED_AT


def test_the_session_configuration_is_one_and_is_mounted():
    with open(os.path.join(CHECKOUT, "docs", "tensorflow_session.config"), encoding="utf-8") as file:
        found = text_format.Parse(file.read(), config_pb2.ConfigProto())
    assert found.graph_options.rewrite_options.disable_meta_optimizer
    (block,) = blocks("bash", "docker run")
    assert "docs/tensorflow_session.config:/etc/session.config" in block
    assert "--tensorflow_session_config_file=/etc/session.config" in block


def test_ids_end_with_the_end_token():
    (ids,) = re.findall(r'"ids": \[([^]]*)\]', "".join(blocks("bash", "curl")))
    assert ids.split(",")[-1].strip() == "1"


def test_the_flags_shown_exist():
    with open(os.path.join(CHECKOUT, "bin", "serve.py"), encoding="utf-8") as file:
        known = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', file.read()))
    (block,) = blocks("bash", "bin/serve.py")
    assert set(re.findall(r"--(\w+)", block)) <= known
