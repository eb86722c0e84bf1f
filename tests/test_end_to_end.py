"""Tests all eight problems with the commands of a user: corpora, vocabulary, training, evaluation and decoding."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from t2t_mm.mini import world
from tests.commands import CHECKOUT, command

SMALL = (
    "corpora='{root}/mini'", "vocabulary_file='{root}/mini.model'", "steps=2",
    "model.MultiModel.depth=16", "model.MultiModel.encoder_blocks=1", "model.MultiModel.mixer_blocks=1",
    "model.MultiModel.decoder_blocks=1", "attention.AttentionBlock.heads=2", "attention.AttentionBlock.convs=1",
    "moe.MixtureOfExperts.num_experts=3", "moe.MixtureOfExperts.hidden=16", "image.ImageInput.filters=(4, 8)",
    "image.ImageInput.full_stem=True", "categorical.CategoricalOutput.widths=(16, 16)",
    "audio.AudioInput.least_width=4", "buckets.BatchSettings.positions=128", "buckets.BatchSettings.images=2",
    "buckets.BatchSettings.audio_frames=800", "buckets.BatchSettings.image_size=32",
    "settings.Observation.log_steps=1",
)  # fmt: skip
CORPORA = (
    "Sizes.pairs=30", "Sizes.trees=30", "Sizes.images=1", "Sizes.scenes=3", "Sizes.utterances=4", "Sizes.speakers=2",
    "Sizes.held_out_pairs=3", "Sizes.held_out_trees=3", "Sizes.held_out_images=1", "Sizes.held_out_scenes=2",
    "Sizes.held_out_utterances=2", "Sizes.held_out_speakers=2", "Sizes.image_size=32",
)  # fmt: skip


def bindings(root):
    return [f"--gin_param={binding.format(root=root)}" for binding in SMALL]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with corpora, a vocabulary, and a run of two steps."""
    root = tmp_path_factory.mktemp("all")
    run = "--gin_file=gin/runs/joint_mini.gin"
    for name, *flags in (
        ("make_mini.py", f"--root={root}/mini", *[f"--gin_param=corpora.{size}" for size in CORPORA]),
        ("build_vocabulary.py", run, "--size=420", *bindings(root)),
        ("train.py", run, f"--model_dir={root}/run", "--profile_steps=1", *bindings(root)),
    ):
        done = command(name, *flags)
        assert done.returncode == 0, done.stderr[-3000:]
    return root


def test_a_run_leaves_what_later_commands_need(root):
    assert {"checkpoints", "config.gin", "events", "model.json", "vocabulary.model"} <= set(os.listdir(root / "run"))
    assert "versions" in json.loads((root / "run" / "model.json").read_text())
    configuration = (root / "run" / "config.gin").read_text()
    assert "settings.Observation.log_steps = 1" in configuration
    assert "profile_steps" not in configuration, "a resumed run would profile again"
    # The parameters are those of the run with its 420 pieces, and not of the assumed vocabulary.
    done = command("inspect_model.py", f"--model_dir={root}/run")
    assert done.returncode == 0 and re.search(rf"language_in +{420 * 16:,}\n", done.stdout), done.stderr[-3000:]
    assert re.search(r"\n  2 steps x ", done.stdout), "the number of steps is not that of the run"


NINTH = """
from t2t_mm.corpora.example import Example
from t2t_mm.problem import Problem

class Reversal:
    def examples(self, split, report):
        return [Example(inputs=w, targets=w[::-1], origin=f"reversal:{w}") for w in ("one", "two", "three") * 20]

def reversal():
    return Problem("reversal", Reversal(), inputs="language", targets="text", command="To-Reversed")
"""
NINTH_RUN = """
from __gin__ import dynamic_registration
import ninth
from t2t_mm import experiment
include 'gin/runs/joint_mini.gin'
experiment.Experiment.more = [@ninth.reversal()]
experiment.Experiment.only = ['reversal', 'wsj_parsing']
"""


def test_a_ninth_problem_from_outside_trains_with_some_of_the_eight(root):
    (root / "ninth.py").write_text(NINTH)
    (root / "ninth.gin").write_text(NINTH_RUN)
    flags = [f"--gin_file={root}/ninth.gin", f"--model_dir={root}/ninth", *bindings(root), "--gin_param=steps=1"]
    done = command("train.py", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"step 1/1  reversal \d.*  wsj_parsing \d\.\d+  \|", done.stderr)
    assert json.loads((root / "ninth" / "model.json").read_text())["commands"] == ["To-Parse-Tree", "To-Reversed"]
    # The module beside the .gin file is found by the commands that only know the run's folder, too.
    done = command("decode.py", f"--model_dir={root}/ninth", "--problem=reversal", "--input=setup.py", "--max_length=3")
    assert done.returncode == 0 and "give --input_file=setup.py." in done.stderr, done.stderr[-3000:]


def test_training_with_jax_leaves_a_run_that_is_evaluated_like_any_other(root):
    two = "--gin_param=experiment.Experiment.only=['wsj_parsing', 'imagenet']"
    run = ["--gin_file=gin/runs/joint_mini.gin", *bindings(root), two]
    packed, trained = f"--packed={root}/packed", f"--trained={root}/trained"
    done = command("train_jax.py", "pack", *run, packed)
    assert done.returncode == 0, done.stderr[-3000:]
    flags = [os.path.join("bin", "train_jax.py"), "train", packed, trained]
    # Compiled without optimisation, in a quarter of the time.
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "PYTHONPATH": CHECKOUT,
    }
    done = subprocess.run([sys.executable, *flags], capture_output=True, text=True, cwd=CHECKOUT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"step 1/2  wsj_parsing \d.*  imagenet \d", done.stdout)
    done = command("train_jax.py", "report", packed, trained, f"--output={root}/speed.json")
    assert done.returncode == 0, done.stderr[-3000:]
    done = command("train_jax.py", "unpack", *run, trained, f"--model_dir={root}/jax")
    assert done.returncode == 0, done.stderr[-3000:]
    done = command("evaluate.py", f"--model_dir={root}/jax/seed_0", "--split=test", "--max_length=6")
    assert done.returncode == 0, done.stderr[-3000:]
    evaluated = json.loads((root / "jax" / "seed_0" / "evaluation_test.json").read_text())["results"]
    reported = json.loads((root / "speed.json").read_text())["results"]
    for problem, examples in (("wsj_parsing", 3), ("imagenet", 24)):
        assert evaluated[problem]["examples"] == examples
        found = reported[f"seed_0, {problem}, test"]["log_perplexity"]
        assert evaluated[problem]["log_perplexity"] == pytest.approx(found, rel=0.01)  # pixels are rounded


def test_evaluation_of_all_eight(root):
    # The vocabulary of the run's folder serves; that the original is gone does not matter.
    os.rename(root / "mini.model", root / "elsewhere.model")
    done = command("evaluate.py", f"--model_dir={root}/run", "--split=test", "--max_length=6")
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((root / "run" / "evaluation_test.json").read_text())
    assert {"command", "commit", "date", "cores", "processor", "versions", "seed", "minutes", "results"} <= set(record)
    expected = {
        "wsj_speech": "wer", "imagenet": "top5", "coco": "cider", "wsj_parsing": "f1",
        "wmt_en_de": "bleu", "wmt_de_en": "bleu", "wmt_en_fr": "bleu", "wmt_fr_en": "bleu",
    }  # fmt: skip
    for problem, metric in expected.items():
        found = record["results"][problem]
        assert {"log_perplexity", "token_accuracy", "sequence_accuracy", "examples", metric} <= set(found)
        assert metric in record["baselines"][problem]
        assert 0 < found["log_perplexity"] < 8
    assert record["results"]["imagenet"]["examples"] == 24 and len(record["samples"]["coco"]) == 2
    assert "| wsj_parsing | f1 |" in (root / "run" / "evaluation_test.md").read_text()
    # Every answer lies beside its reference, and the file has the evaluation's score.
    written = root / "run" / "answers_test"
    assert {path.name for path in written.iterdir()} == {f"{problem}.jsonl" for problem in expected}
    for problem in ("wsj_parsing", "imagenet"):
        done = command("score.py", f"--answers={written}/{problem}.jsonl", f"--output={root}/scores.json")
        assert done.returncode == 0, done.stderr[-3000:]
        found, figures = json.loads((root / "scores.json").read_text()), record["results"][problem]
        assert found == pytest.approx({name: figures[name] for name in found})
        assert expected[problem] in found


def test_evaluation_on_own_files(root, tmp_path):
    pictures = sorted((root / "mini" / "imagenet" / "val").rglob("*.JPEG"))[:2]
    names = json.loads((root / "run" / "model.json").read_text())["class_names"]["imagenet"]
    (tmp_path / "pictures.txt").write_text("".join(f"{path}\n" for path in (*pictures, pictures[0])))
    (tmp_path / "classes.txt").write_text(f"{names[0]}\n{names[1]}\nno such class\n")
    of_all = (root / "run" / "evaluation_test.json").read_bytes()
    evaluate = ["evaluate.py", f"--model_dir={root}/run", "--max_length=6", "--problem=imagenet"]
    own = [f"--inputs={tmp_path}/pictures.txt", f"--references={tmp_path}/classes.txt"]
    done = command(*evaluate, *own, f"--answers={tmp_path}/answers")
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((root / "run" / "evaluation_own.json").read_text())
    assert record["results"]["imagenet"]["examples"] == 2 and "top1" in record["results"]["imagenet"]
    assert record["skipped"]["imagenet"] == {
        f"{tmp_path}/pictures.txt:3": f"{tmp_path}/classes.txt:3: the model has no class 'no such class'."
    }
    lines = [json.loads(line) for line in (tmp_path / "answers" / "imagenet.jsonl").read_text().splitlines()]
    assert [(line["input"], line["reference"]) for line in lines] == [(str(p), n) for p, n in zip(pictures, names)]
    assert "(higher is better)" in done.stdout and "baseline is" not in done.stdout
    done = command(*evaluate, "--split=test", "--nobaselines")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((root / "run" / "evaluation_test_imagenet.json").read_text())["results"].keys() == {"imagenet"}
    assert (root / "run" / "evaluation_test.json").read_bytes() == of_all
    assert [path.name for path in (root / "run" / "answers_test_imagenet").iterdir()] == ["imagenet.jsonl"]
    # What cannot be evaluated leaves the earlier results, and promises no others.
    earlier = (root / "run" / "evaluation_own.json").read_bytes()
    (tmp_path / "no_class.txt").write_text("none\n" * 3)
    done = command(*evaluate, own[0], f"--references={tmp_path}/no_class.txt")
    assert done.returncode == 1 and "All metrics" not in done.stdout
    assert f"evaluate.py: imagenet: {tmp_path}/pictures.txt: none of its lines is usable; " in done.stderr
    assert (root / "run" / "evaluation_own.json").read_bytes() == earlier
    assert not [path for path in (root / "run").iterdir() if ".unfinished" in path.name]
    for flags, message in (
        (own[:1], "takes --inputs, --references and one --problem"),
        ([own[0], "--references=nowhere.txt"], "nowhere.txt: no such file"),
    ):
        done = command(*evaluate, *flags)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_problem_without_usable_examples_costs_the_others_nothing(root, tmp_path):
    folder = root / "mini" / "bad"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        (folder / f"{split}.tsv").write_text("a.wav\tthe cat sleeps\nb.wav\ta dog runs\n")
    (folder / "a.wav").write_bytes(b"RIFF")
    (folder / "b.wav").write_bytes(b"")
    lists = {split: [f"{split}.tsv"] for split in ("train", "dev", "test")}
    flags = ["--problem=wsj_speech", "--problem=wmt_en_de", "--problem=coco", "--max_length=6"]
    bad = [f"--gin_param=paper.wsj_speech.{binding}" for binding in ("folder='bad'", f"splits={lists}")]
    gone = "--gin_param=paper.coco.folder='nowhere'"
    done = command("evaluate.py", f"--model_dir={root}/run", f"--output={tmp_path}/e.json", *flags, *bad, gone)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "evaluate.py: wsj_speech: no examples: none in the dev set is usable" in done.stderr
    assert "evaluate.py: coco: Looked for a COCO caption file" in done.stderr
    record = json.loads((tmp_path / "e.json").read_text())
    assert record["results"]["wsj_speech"] == {"examples": 0} and "bleu" in record["results"]["wmt_en_de"]
    assert record["failed"].keys() == {"wsj_speech", "coco"} and len(record["skipped"]["wsj_speech"]) == 2
    assert "**coco** was not evaluated" in (tmp_path / "e.md").read_text()


def test_there_are_as_many_answers_as_lines(root, tmp_path):
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbfThe cat sleeps.\n\nThe dog\rruns.\n   \nA bird sings.\n")
    decode = ["decode.py", f"--model_dir={root}/run", "--max_length=6"]
    done = command(*decode, "--problem=wmt_en_de", f"--input_file={tmp_path}/lines.txt")
    assert done.returncode == 0, done.stderr[-3000:]
    answers = done.stdout.split("\n")[:-1]
    assert len(answers) == 5 and [bool(answer) for answer in answers] == [True, False, True, False, True]
    pictures = sorted((root / "mini" / "imagenet" / "val").rglob("*.JPEG"))[:1]
    (tmp_path / "list.txt").write_text(f"\ufeff{pictures[0]}\n", encoding="utf-8")
    done = command(*decode, "--problem=coco", f"--input_file={tmp_path}/list.txt")
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr[-3000:]
    (tmp_path / "utf16.txt").write_text("The cat sleeps.\n", encoding="utf-16")
    done = command(*decode, "--problem=wmt_en_de", f"--input_file={tmp_path}/utf16.txt")
    assert done.returncode == 1 and "utf16.txt:1: not UTF-8 text but UTF-16" in done.stderr


def test_decoding_of_a_users_sentences_and_pictures(root):
    decode = ["decode.py", f"--model_dir={root}/run", "--max_length=6"]
    done = command(*decode, "--problem=wsj_parsing", "--input=-", stdin="the cat sleeps .\n\na dog\n")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "cat)" in done.stdout and "dog)" in done.stdout
    drawn = [*decode, "--problem=wmt_en_de", "--input=A dog."]
    done = command(*drawn, "--temperature=5", "--seed=1")
    assert done.returncode == 0 and len(done.stdout.strip()) > 0, done.stderr[-3000:]
    done = command(*drawn, "--top_p=0.9", "--beam_size=2")
    assert done.returncode == 1 and "not both" in done.stderr and "Traceback" not in done.stderr
    picture = next((root / "mini" / "imagenet" / "val").rglob("*.JPEG"))
    (root / "broken.jpg").write_bytes(picture.read_bytes()[:300])
    done = command(*decode, "--problem=imagenet", f"--input={picture}", f"--input={root}/broken.jpg")
    assert done.returncode == 1
    named = [line.split("\t")[0] for line in done.stdout.splitlines() if "%" in line]
    assert len(named) == 5 and set(named) <= set(world.OBJECTS)
    assert f"decode.py: --input number 2: {root}/broken.jpg: not a readable image" in done.stderr
    assert done.stderr.count("broken.jpg") == 1 and "Traceback" not in done.stderr
    done = command(*decode, "--problem=imagenet", f"--input={root}")
    assert done.returncode == 1 and f"{root}: is a folder. The image of imagenet is the path of a file." in done.stderr


def test_parses_that_must_be_trees_and_what_is_told_of_answers(root, tmp_path):
    constrained = ["--constrain_trees", "--max_length=14"]
    flags = [*constrained, f"--output={tmp_path}/e.json", f"--answers={tmp_path}", "--nobaselines"]
    done = command("evaluate.py", f"--model_dir={root}/run", "--problem=wsj_parsing", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "e.json").read_text())["results"]["wsj_parsing"]
    assert found["repaired_constrained"] < found["repaired"] and {"f1", "f1_constrained"} <= set(found)
    lines = [json.loads(line) for line in (tmp_path / "wsj_parsing.jsonl").read_text().splitlines()]
    most = int(re.search(r"a tree of at most 14 tokens has room for (\d+)", done.stderr)[1])
    roomy = [line for line in lines if len(line["input"].split()) <= most]
    assert all(line["constrained_answer"].split()[-1][0] == ")" for line in roomy)
    assert found["repaired_constrained"] <= 100 * found["unconstrained"] / len(lines) + 1e-6
    assert found["unconstrained"] == len(lines) - len(roomy) and 0 < len(roomy) < len(lines)
    assert all(line["constrained_answer"] == line["answer"] for line in lines if line not in roomy)
    done = command("evaluate.py", f"--model_dir={root}/run", "--problem=coco", *flags)
    assert done.returncode == 1 and "none of coco parses sentences" in done.stderr
    through = [f"--output={tmp_path}/p.json", f"--answers={tmp_path}/p", "--nobaselines", "--max_length=14"]
    done = command("evaluate.py", f"--model_dir={root}/run", "--problem=wmt_en_de", "--pivot=To-English", *through)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {"bleu", "bleu_pivot"} <= set(json.loads((tmp_path / "p.json").read_text())["results"]["wmt_en_de"])
    lines = [json.loads(line) for line in (tmp_path / "p" / "wmt_en_de.jsonl").read_text().splitlines()]
    assert all({"answer", "pivot", "pivot_answer"} <= set(line) for line in lines)
    decode = ["decode.py", f"--model_dir={root}/run", "--beam_size=3"]
    told = ["--n_best=2", f"--output={tmp_path}/a.jsonl", f"--attention={tmp_path}/a.html", *constrained]
    done = command(*decode, "--problem=wsj_parsing", "--input=-", *told, stdin=f"the cat sleeps .\n\na dog\n{'a ' * 20}\n")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"standard input:4: 20 words, but a tree of at most 14 tokens has room for {most}: answered without" in done.stderr
    shown = done.stdout.split("\n")[:-1]
    assert len(shown) == 8 and shown[2:4] == ["", ""] and "cat)" in shown[1] and "dog)" in shown[5]
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [len(line.get("answers", ())) for line in lines] == [2, 0, 2, 2]
    assert f"{lines[0]['answers'][1]['score']:.4f}\t{lines[0]['answers'][1]['answer']}" == shown[1]
    assert not any("(repaired)" in line for line in shown[:6])
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    picture = str(next((root / "mini" / "imagenet" / "val").rglob("*.JPEG")))
    for problem, flag, message in (
        ("imagenet", "--n_best=2", "--n_best supports only texts and trees"),
        ("imagenet", f"--attention={tmp_path}/b.html", "--attention supports only texts and trees"),
        ("coco", "--constrain_trees", "--constrain_trees is for parses of sentences; coco has none"),
    ):
        done = command(*decode, f"--problem={problem}", f"--input={picture}", flag)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_an_export_is_served(root):
    export = f"--export_dir={root}/served"
    # The model has never been trained for wmt_de_fr, but it has the command and the input.
    more = (f"--gin_file={root}/run/config.gin", "--gin_file=gin/tables/zero_shot.gin")
    done = command("decode.py", f"--model_dir={root}/run", *more, "--problem=wmt_de_fr", "--input=Hund", "--max_length=6")
    assert done.returncode == 0 and len(done.stdout.strip()) > 0, done.stderr[-3000:]
    zero_shot = done.stdout.strip()
    # The server runs the warm-up records.
    problems = (*more, "--problems=wsj_parsing,imagenet,wmt_de_fr", "--max_length=6", "--norun_warmup", "--constrain_trees")
    done = command("export.py", f"--model_dir={root}/run", export, *problems)
    assert done.returncode == 0, done.stderr[-3000:]
    server = subprocess.Popen(
        [sys.executable, "bin/serve.py", export, "--rest_port=0", "--grpc_port=-1"], stdout=subprocess.PIPE, text=True,
        cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": CHECKOUT, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    try:
        address = re.search(r"http://([\d.:]+)/", server.stdout.readline())[1]
        status = f"http://{address}/v1/models/t2t_mm"
        end = time.monotonic() + 120  # it says 503 until the version is warmed up
        while json.load(urllib.request.urlopen(status))["model_version_status"][0]["state"] != "AVAILABLE":
            assert time.monotonic() < end
            time.sleep(0.2)
        predict = ["predict.py", f"--server={address}"]
        done = command(*predict, "--problem=wsj_parsing", "--input=-", stdin="the cat sleeps .\na dog\n")
        assert done.returncode == 0, done.stderr[-3000:]
        trees = [json.loads(line)["outputs"] for line in done.stdout.splitlines()]
        # Six tokens have room for the tree of two words, but not for that of four.
        assert "cat)" in trees[0] and "dog)" in trees[1] and "(XX " in trees[0] and "(XX " not in trees[1]
        done = command(*predict, "--problem=wmt_de_fr", "--input=Hund")
        assert done.returncode == 0 and json.loads(done.stdout)["outputs"] == zero_shot, done.stderr[-3000:]
        picture = next((root / "mini" / "imagenet" / "val").rglob("*.JPEG"))
        (root / "cut.jpg").write_bytes(picture.read_bytes()[:300])
        done = command(*predict, "--problem=imagenet", f"--input={picture}", f"--input={root}/cut.jpg")
        good, bad = map(json.loads, done.stdout.splitlines())
        assert done.returncode == 1 and bad["code"] == "400"
        assert good["classes"][0] in world.OBJECTS and good["scores"] == sorted(good["scores"], reverse=True)
    finally:
        server.terminate()
        server.wait(60)
    assert server.returncode == 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--problem=wmt_en_it", "--input=x"], "decode.py: Unknown problem 'wmt_en_it' (did you mean "),
        (["--problem=wmt_en_de"], "decode.py: No input; give --input="),
        (["--problem=wmt_en_de", "--input_file=nowhere.txt"], "decode.py: nowhere.txt: No such file"),
    ],
)
def test_bad_input_to_decode_is_one_line(root, flags, message):
    done = command("decode.py", f"--model_dir={root}/run", *flags)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_evaluating_what_was_never_trained_is_one_line(tmp_path):
    done = command("evaluate.py", f"--model_dir={tmp_path}")
    assert done.returncode == 1 and "holds no trained model" in done.stderr and "Traceback" not in done.stderr
