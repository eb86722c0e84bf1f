"""A study of made-up runs: a configuration that is parsed quickly, and commands that only write files."""

import json
import os
import textwrap

import numpy as np

from t2t_mm.lab.tables.runs import Setting, plan
from t2t_mm.lab.tables.tables import Cell, Comparison, ResultTable, Run

GIN = """
from __gin__ import dynamic_registration
from t2t_mm import experiment
from t2t_mm.training import loop
loop.train.steps = 4
experiment.Experiment.problems = []
"""
EVALUATED = """
from t2t_mm.training import settings
loop.train.evaluation = @settings.Evaluation()
settings.Evaluation:
  every_steps = 1
  patience = 2
"""
RUNS = {
    run.name: run
    for run in (
        Run("joint"), Run("alone", only=("parsing",)), Run("look", init_from="joint", trained=False),
        Run("tuned", only=("parsing",), init_from="joint"),
    )
}  # fmt: skip
TABLES = (
    ResultTable(
        "1", "Joint <and> alone", ("joint", "alone"),
        (("parsing", (Cell("joint", "parsing", "log_perplexity", 1.5), Cell("alone", "parsing", "f1"))), ("paper's", (95.0,))),
        (Comparison("parsing", "joint", "alone", "joint helps"),),
    ),
    ResultTable("2", "Joint again", ("joint",), (("parsing", (Cell("joint", "parsing", "token_accuracy"),)),)),
)  # fmt: skip
# What bin/train.py and bin/score.py do to the folder, by the same flags.
COMMANDS = {
    "train.py": """
        import os, signal, sys, time
        folder = [flag[12:] for flag in sys.argv if flag.startswith("--model_dir=")][0]
        checkpoints = os.path.join(folder, "checkpoints")
        os.makedirs(checkpoints, exist_ok=True)
        found = [int(name[5:-6]) for name in os.listdir(checkpoints) if name.endswith(".index")]
        done = max(found, default=0)
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
        print("starts at", done, "threads", os.environ.get("TF_NUM_INTRAOP_THREADS"), flush=True)
        if os.path.exists(os.path.join(folder, "..", "..", "broken_" + os.path.basename(os.path.dirname(folder)))):
            sys.exit("train.py: the corpus is missing")
        slow = os.path.exists(os.path.join(folder, "..", "..", "slow"))
        while done < 4:
            done += 1
            open(os.path.join(checkpoints, f"ckpt-{done}.index"), "w").close()
            print(f"step {done}/4  parsing 1.0", flush=True)
            time.sleep(0.3 if slow else 0)
            if stop:
                sys.exit(75)
    """,
    "score.py": """
        import json, sys
        flags = dict(flag.split("=", 1) for flag in sys.argv[1:] if "=" in flag)
        json.dump({"step": 4}, open(flags["--output"], "w"))
    """,
}


def make(folder, seeds=2, runs=RUNS, more=""):
    """Commands and configuration in `folder` -> the folder of the commands, and the plan."""
    commands = os.path.join(folder, "bin")
    os.makedirs(commands, exist_ok=True)
    for name, text in COMMANDS.items():
        with open(os.path.join(commands, name), "w") as file:
            file.write(textwrap.dedent(text))
    path = os.path.join(folder, "base.gin")
    with open(path, "w") as file:
        file.write(GIN + more)
    return commands, plan(list(runs.values()), Setting(os.path.join(folder, "runs"), (path,), (), seeds))


def checkpoints(planned, newest, best):
    """Leaves the newest checkpoint of a run, and that with the best evaluation."""
    folder = os.path.join(planned.weights, "checkpoints")
    os.makedirs(os.path.join(folder, "best"), exist_ok=True)
    for name in (f"ckpt-{newest}.index", f"best/ckpt-{best}.index"):
        open(os.path.join(folder, name), "w").close()
    with open(os.path.join(folder, "best", "best.json"), "w") as file:
        json.dump({"metric": "log_perplexity", "value": 1.0, "step": best}, file)


def finish(planned, level, longest=8):
    """Leaves a checkpoint of the last step and scores around `level` nats, of up to `longest` tokens, in a run's folder."""
    rng = np.random.default_rng(planned.seed)
    folder = os.path.join(planned.weights, "checkpoints")
    os.makedirs(folder, exist_ok=True)
    open(os.path.join(folder, f"ckpt-{planned.steps}.index"), "w").close()
    tokens = np.random.default_rng(0).integers(min(5, longest), longest + 1, 30)  # the same examples for all seeds
    right = rng.binomial(tokens, 0.8)
    nats = (level + rng.normal(0, 0.05, 30)) * tokens
    figures = {
        "log_perplexity": float(nats.sum() / tokens.sum()), "token_accuracy": 80.0 + planned.seed, "f1": 61.0 + level,
        "sequence_accuracy": 10.0, "examples": 30,
    }  # fmt: skip
    record = {
        "figures": figures, "samples": [{"input": "a <b> & c", "target": "(S", "output": "(S )S"}],
        "examples": {"nats": nats.tolist(), "right": right.tolist(), "tokens": tokens.tolist()},
        "experts": {"encoder": [1.0, 3.0, 0.0], "decoder": [2.0, 2.0, 4.0]},
    }  # fmt: skip
    scores = {
        "step": planned.steps, "seed": planned.seed, "training_seconds": 90.0, "parameters": {"encoder": 1000, "mixer": 234},
        "splits": {"dev": {"parsing": record}, "test": {"parsing": record}},
        "curves": {"train": {"parsing": [[1, 3.0], [4, 1.0]]}, "dev": {"parsing": [[4, level]]}},
        "baselines": {"dev": {}, "test": {}},
    }  # fmt: skip
    os.makedirs(planned.folder, exist_ok=True)
    with open(os.path.join(planned.folder, "scores.json"), "w") as file:
        json.dump(scores, file)
