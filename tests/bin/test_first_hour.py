"""Tests the first commands of a new user: help, misspelt flags and missing files. None of them waits for TensorFlow."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
COMMANDS = sorted(name for name in os.listdir(os.path.join(CHECKOUT, "bin")) if name.endswith(".py"))
MODEL = {
    "problems": {"wsj_parsing": "language", "coco": "image", "asked": ["image", "language"]},
    "vocabulary": "", "commands": [], "inputs": [], "class_names": {}, "frequency_bins": 40,
}  # fmt: skip

# Runs a command where TensorFlow and Keras cannot be imported.
WITHOUT_TENSORFLOW = """
import runpy, sys
for name in ("tensorflow", "keras", "jax"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(name, *flags, cwd=CHECKOUT):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, os.path.join(CHECKOUT, "bin", name), *flags],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": CHECKOUT},
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A folder that looks like one of a run."""
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    (tmp_path / "config.gin").write_text("")
    return str(tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_tensorflow(name):
    done = command(name, "--help")
    assert done.returncode == 0 and "flags:" in done.stdout and not done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_flag_needs_no_tensorflow(name):
    done = command(name, "--gin_fiel=x", "--model_dri=x")
    assert done.returncode == 1 and "Unknown command line flag" in done.stderr
    assert done.stderr.startswith(f"{name}: ") and done.stderr.endswith("The flags are listed by --help.\n")


VERBS = {"benchmark.py": "moe", "train_jax.py": "report"}  # of the commands that take one
REQUIRED = {
    name: [f"--{flag}=nowhere" for flag in named]
    for name, named in {
        "build_vocabulary.py": ["gin_file"], "compare.py": ["model_dir"], "decode.py": ["model_dir", "problem"],
        "evaluate.py": ["model_dir"], "export.py": ["model_dir", "export_dir"], "make_mini.py": ["root"],
        "pack_model.py": ["model_dir", "output"], "predict.py": ["problem"],
        "prepare_data.py": ["gin_file", "output"], "reproduce.py": [], "serve.py": ["export_dir"],
        "train.py": ["gin_file", "model_dir"],
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_an_argument_without_a_flag_is_refused(name):
    """A sentence without quotation marks would otherwise be cut after its first word without an error."""
    verb = [VERBS[name]] if name in VERBS else []
    done = command(name, *verb, *REQUIRED.get(name, []), "small", "cat")
    assert done.returncode == 1 and done.stderr.startswith(f"{name}: The argument 'small' does not belong to a flag."), (
        done.stderr
    )
    assert 'quotation marks, as in --input="The cat sleeps."' in done.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused(value):
    done = command("serve.py", "--export_dir=x", f"--drain_seconds={value}")
    assert done.returncode == 1 and f"--drain_seconds={value}" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--alpha=11", "--alpha=-1000", "--temperature=0", "--temperature=1e-9", "--temperature=1e9"])
def test_numbers_with_which_no_search_makes_sense_are_refused(flag):
    done = command("decode.py", "--model_dir=x", "--problem=x", flag)
    assert done.returncode == 1 and flag.partition("=")[0][2:] in done.stderr and "Traceback" not in done.stderr


def test_help_is_quick():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command("train.py", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


@pytest.mark.parametrize(
    "name, flags, message",
    [
        ("train.py", ["--gin_file=gin/runs/joint_mimi.gin", "--model_dir=x"], "did you mean gin/runs/joint_mini.gin"),
        ("evaluate.py", ["--model_dir=nowhere"], "nowhere holds no trained model"),
        ("decode.py", ["--model_dir=nowhere", "--problem=coco", "--input=x"], "nowhere holds no trained model"),
        ("export.py", ["--model_dir=nowhere", "--export_dir=x"], "nowhere holds no trained model"),
        ("inspect_model.py", ["--model_dir=nowhere"], "nowhere holds no trained model"),
        ("inspect_model.py", [], "Give either --gin_file or --model_dir."),
        ("benchmark.py", ["meo"], "'meo' is unknown (did you mean moe"),
        ("benchmark.py", [], "Give one of accelerator, bfloat16, decode"),
        ("train_jax.py", ["trian"], "'trian' is unknown (did you mean train?)"),
        ("score.py", [], "Give --model_dir and --output to score a run, or --answers"),
        ("score.py", ["--model_dir=nowhere", "--output=x"], "nowhere holds no trained model"),
        ("score.py", ["--answers=nowhere.jsonl"], "nowhere.jsonl: no such file."),
        ("score.py", ["--answers=docs"], "docs: is a folder. Give the file of a problem in it, PROBLEM.jsonl."),
        ("score.py", ["--answers=README.md"], "README.md:1: not JSON"),
        ("build_vocabulary.py", ["--gin_file=nowhere.gin"], "No configuration file nowhere.gin"),
        ("make_mini.py", ["--root=x", "--gin_param=corpora.Sizes.piars=3"], "piars"),
    ],
)
def test_missing_files_and_wrong_names_need_no_tensorflow(name, flags, message, tmp_path):
    done = command(name, *flags)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"{name}: ") and not os.path.exists(os.path.join(CHECKOUT, "x"))


@pytest.mark.parametrize(
    "name, flags, message",
    [
        ("decode.py", ["--problem=wsj_pasring", "--input=x"], "did you mean wsj_parsing?"),
        ("decode.py", ["--problem=coco", "--input=absent.jpg"], "absent.jpg: no such file."),
        ("decode.py", ["--problem=coco", "--input=x", "--n_best=3", "--beam_size=2"], "give --beam_size=3 or more, not 2."),
        ("decode.py", ["--problem=coco", "--input=x", "--output=nowhere/a.jsonl"], "there is no folder nowhere."),
        ("decode.py", ["--problem=coco", "--input=x", "--attention=nowhere/a.html"], "there is no folder nowhere."),
        ("decode.py", ["--problem=asked", "--input=a.jpg"], "--input=a.jpg: 1 input(s) instead of 2: image, language"),
        ("decode.py", ["--problem=asked", *["--input=a.jpg"] * 3], "--input=a.jpg: 1 input(s) instead of 2"),
        ("decode.py", ["--problem=asked", "--input=a.jpg", "--input="], "--input=: 1 input(s) instead of 2"),
        ("decode.py", ["--problem=asked", "--input_file=setup.py"], "setup.py:1: 1 input(s) instead of 2"),
        ("decode.py", ["--problem=asked", "--input=a.jpg", "--input=what"], "a.jpg: no such file. The image of asked is"),
        ("evaluate.py", ["--problem=wsj_pasring"], "did you mean wsj_parsing?"),
        ("export.py", ["--export_dir=x", "--problems=cooc"], "did you mean coco?"),
    ],
)
def test_a_runs_problems_and_a_users_files_are_checked_first(name, flags, message, run):
    done = command(name, f"--model_dir={run}", *flags)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["output", "attention"])
def test_an_output_that_is_a_folder_is_refused(flag, run, tmp_path):
    done = command("decode.py", f"--model_dir={run}", "--problem=coco", "--input=x", f"--{flag}={tmp_path}")
    assert done.returncode == 1 and f"--{flag}={tmp_path} is a folder; give the name of a file." in done.stderr


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "Expecting value"), (json.dumps(MODEL).encode()[:60], "Unterminated string"), (b"\xff\xfe", "can't decode"),
        (b"\xef\xbb\xbf{}", "BOM"), (b"[]", "it has no 'problems'"), (b"{}", "it has no 'problems'"),
        (b'{"problems": {}}', "it has no 'vocabulary'"),
    ],
)  # fmt: skip
def test_a_damaged_description_of_a_run_is_one_line(content, reason, run, tmp_path):
    (tmp_path / "model.json").write_bytes(content)
    done = command("evaluate.py", f"--model_dir={run}")
    assert done.returncode == 1 and f"{run}/model.json: is damaged: " in done.stderr and reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_a_run_in_place_of_its_folder_is_named(run):
    done = command("evaluate.py", f"--model_dir={run}/model.json")
    assert done.returncode == 1 and f"{run}/model.json: is a file. Give the folder of the run, {run}." in done.stderr


LOADING = {
    "decode.py": ["--problem=coco", "--input=x"], "evaluate.py": [], "export.py": ["--export_dir=x"],
    "score.py": ["--output=x"],
}  # fmt: skip


@pytest.mark.parametrize("name, flags", LOADING.items())
def test_every_command_that_loads_a_model_takes_best_and_step(name, flags, run):
    text = command(name, "--help").stdout
    assert "--[no]best: Whether to use the checkpoint" in text and "--step: Step of the checkpoint" in text
    text = " ".join(text.split())
    assert re.search(r"--step: .*?\(a non-negative integer\)", text)
    done = command(name, f"--model_dir={run}", *flags, "--best", "--step=3")
    assert done.returncode == 1 and done.stderr.startswith(f"{name}: ") and "Traceback" not in done.stderr
    if name != "decode.py":  # which looks for its input first
        assert "Give either --best or --step, not both." in done.stderr


def test_another_systems_answers_are_scored_without_a_run_and_without_tensorflow(tmp_path):
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"reference": "a red cup", "answer": "a red cup"}\n{"reference": "a cat", "answer": "the cat"}\n')
    flags = f"--answers={path}", "--metric=wer", "--metric=exact_match", f"--output={tmp_path}/scores.json"
    done = command("score.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "wer\t20.00" in done.stdout and "exact_match\t50.00" in done.stdout and "examples\t2" in done.stdout
    assert json.loads((tmp_path / "scores.json").read_text())["substitutions"] == 1
    # The answers of a classification are names to the metrics of texts.
    path.write_text('{"reference": "a red cup", "answer": "a red cup", "ranked": ["a red cup", "a cat"]}\n')
    done = command("score.py", f"--answers={path}", "--metric=bleu", "--metric=exact_match")
    assert done.returncode == 0 and "exact_match\t100.00" in done.stdout, done.stderr
    path.write_text('{"reference": "a red cup", "answer": "a red cup"}\n')
    done = command("score.py", f"--answers={path}", f"--model_dir={tmp_path}")
    assert done.returncode == 1 and f"{tmp_path} holds no trained model" in done.stderr
    done = command("score.py", f"--answers={path}")
    assert done.returncode == 1 and "its lines name no problem, or different ones" in done.stderr
    path.write_text('{"reference": "a red cup", "answer": "a red cup", "problem": "coco"}\n')
    done = command("score.py", f"--answers={path}")
    assert done.returncode == 1 and "is not in the folder of a run" in done.stderr and "--gin_file of coco" in done.stderr
    done = command("score.py", f"--answers={path}", "--metric=classes", "--metric=bleu")
    assert done.returncode == 1 and "--metric=classes is for names of classes, and --metric=bleu for texts" in done.stderr


@pytest.mark.parametrize("name", ["decode.py", "evaluate.py", "export.py", "predict.py", "prepare_data.py"])
def test_the_help_of_problem_lists_the_names(name):
    text = " ".join(command(name, "--help").stdout.split())
    assert "wsj_speech, imagenet, coco, wsj_parsing, wmt_en_de, wmt_de_en, wmt_en_fr, wmt_fr_en" in text


def test_make_mini_below_a_file_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    done = command("make_mini.py", f"--root={tmp_path}/file/mini")
    assert done.returncode == 1 and "Not a directory" in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["file"]


SMALL = [
    f"--gin_param=corpora.Sizes.{binding}"
    for binding in ("pairs=60", "trees=60", "images=1", "scenes=2", "utterances=2", "speakers=2", "more_trees=5", "few=5")
]


def test_make_mini_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit of the size of files stands for the full disk."""
    done = subprocess.run(
        [sys.executable, os.path.join(CHECKOUT, "bin", "make_mini.py"), f"--root={tmp_path}/mini", *SMALL],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": CHECKOUT},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert done.returncode == 1 and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert not os.listdir(tmp_path)


def test_ctrl_c_in_make_mini_is_one_line_and_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, os.path.join(CHECKOUT, "bin", "make_mini.py"), f"--root={tmp_path}/mini"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": CHECKOUT}, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background, a shell ignores Ctrl-C
    )  # fmt: skip
    while not os.listdir(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to the workers too
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130 and "make_mini.py: interrupted." in stderr and "Traceback" not in stderr
    assert not os.listdir(tmp_path)
