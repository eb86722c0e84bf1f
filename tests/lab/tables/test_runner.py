"""Tests that runs are shared, finished ones skipped, interrupted ones resumed, and failures reported."""

import io
import json
import os
import re
import shlex
import signal
import threading
import time

import pytest

from t2t_mm.common.errors import RunError
from t2t_mm.lab.results import processor
from t2t_mm.lab.tables import runner as runner_module
from t2t_mm.lab.tables.costs import Costs
from t2t_mm.lab.tables.runner import Job, Runner, Stopped, Work, duration, missing, until
from t2t_mm.lab.tables.runs import SCORES, Setting, plan, with_starts
from t2t_mm.lab.tables.scores import write
from t2t_mm.lab.tables.tables import Run
from tests.commands import command
from tests.lab.tables import fixture


def costs(tmp_path):
    return Costs(str(tmp_path / "runs"), {name: run.only or ("parsing", "imagenet") for name, run in fixture.RUNS.items()})


def run(tmp_path, commands, planned, said=None, at_once=1):
    os.makedirs(tmp_path / "runs", exist_ok=True)
    say = (said if said is not None else []).append
    return Runner(commands, costs(tmp_path), say, at_once=at_once).run(missing(planned))


def jobs(planned):
    return [(job.kind, job.planned.run.name, job.planned.seed) for job in missing(planned)]


def log(tmp_path, name, seed=0):
    return (tmp_path / "runs" / name / f"seed_{seed}" / "train.log").read_text()


def test_all_of_a_seed_comes_before_the_next_and_a_look_trains_nothing(tmp_path):
    _, planned = fixture.make(str(tmp_path))
    assert jobs(planned)[:7] == [
        ("train", "joint", 0), ("score", "joint", 0), ("train", "alone", 0), ("score", "alone", 0),
        ("score", "look", 0), ("train", "tuned", 0), ("score", "tuned", 0),
    ]  # fmt: skip
    assert len(jobs(planned)) == 14


def test_what_is_finished_is_skipped_and_what_was_begun_goes_on(tmp_path):
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    fixture.finish(planned[0], 1.0)  # joint
    begun = os.path.join(planned[1].folder, "checkpoints")
    os.makedirs(begun)
    open(os.path.join(begun, "ckpt-3.index"), "w").close()
    said = []
    assert run(tmp_path, commands, planned, said) == {}
    assert "starts at 3" in log(tmp_path, "alone") and not os.path.exists(tmp_path / "runs/joint/seed_0/train.log")
    (first, *_) = log(tmp_path, "tuned").splitlines()
    assert f"--gin_param=loop.train.init_from = '{planned[0].folder}'" in shlex.split(first)
    assert said[0].startswith("[1/5] train alone, seed 0 | ") and " left in total, until " in said[0]
    assert missing(planned) == []
    assert run(tmp_path, commands, planned) == {}


def test_a_running_job_shows_its_step_its_loss_and_the_time_left(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=1)
    path = tmp_path / "train.log"
    before = "I1127 progress.py:122] step 4/4  parsing 9.0  | [####] 0.1 s/step, 0 min left\n"
    path.write_text(
        before + "I1127 progress.py:122] step 1/4  parsing 2.500  imagenet 1.500  | [#---] 0.1 s/step, 1 min left\n"
    )
    runner = Runner("", costs(tmp_path), at_once=2)
    work = Work(Job(planned[0], "train", 0), "[1/2]", None, str(path), len(before), expected=9.0)
    work.started = time.monotonic() - 240
    assert runner.look(work) == "step 1/4, loss 2.000, 12 min left"
    assert work.expected == pytest.approx(480, rel=0.01)  # of machine time: two jobs share it
    path.write_text(before)
    assert runner.look(work) == "240 s"


def test_on_a_terminal_each_running_job_has_a_line_that_is_updated(tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "_DRAW_SECONDS", 0.0)
    monkeypatch.setattr(runner_module, "_LOOK_SECONDS", 0.05)
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    os.makedirs(tmp_path / "runs", exist_ok=True)
    (tmp_path / "runs" / "slow").touch()
    screen, said = io.StringIO(), []
    runner = Runner(commands, costs(tmp_path), said.append, at_once=2, screen=screen)
    assert runner.run(missing(planned[:2])) == {} and said == []
    lines = re.split(r"[\r\n]|\x1b\[A", screen.getvalue())
    for name in ("joint", "alone"):
        drawn = [line for line in lines if f"train {name}, seed 0 " in line and ", step " in line]
        assert any("step 1/4, loss 1.000" in line for line in drawn) and any("step 3/4" in line for line in drawn)
    assert any(re.fullmatch(r"\d+ min left in total, until [\d :-]+", line.strip()) for line in lines)
    places = [line[:5] for line in lines if re.match(r"\[\d/4\] \w+ \w+, seed 0 \| \d+ min left in total", line)]
    assert sorted(places) == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]  # what begins stays on the screen


def test_the_end_of_the_plan_is_a_clock_time():
    noon = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))
    assert until(90 * 60, noon) == "1 h 30 min left in total, until 13:30"
    assert until(13 * 3600, noon) == "13 h 00 min left in total, until 2026-11-28 01:00"


def test_a_run_that_ended_early_is_not_trained_again_and_its_best_checkpoint_counts(tmp_path):
    """Evaluated after each step, with a patience of two evaluations, in a budget of four steps."""
    commands, planned = fixture.make(str(tmp_path), seeds=1, more=fixture.EVALUATED)
    joint, look = planned[0], planned[2]
    assert (joint.evaluated_every, joint.patience) == (1, 2)
    fixture.checkpoints(joint, newest=2, best=1)
    assert not joint.trained() and joint.scored_step() == 1
    fixture.checkpoints(joint, newest=3, best=1)
    assert joint.trained() and look.trained() and look.scored_step() == 1
    assert [job.name for job in missing(planned)][:2] == ["score joint, seed 0", "train alone, seed 0"]
    runner = Runner(commands, costs(tmp_path))
    assert "--best" in runner.command(missing(planned)[0]) and "--nobest" in runner.command(missing(planned)[-1])
    os.makedirs(joint.folder, exist_ok=True)
    for step, expected in ((3, None), (1, {"step": 1})):
        with open(os.path.join(joint.folder, "scores.json"), "w") as file:
            json.dump({"step": step}, file)
        assert joint.scores() == expected
    fixture.checkpoints(joint, newest=4, best=4)  # it was continued, and the scores are old
    assert joint.trained() and joint.scores() is None


def test_scores_of_an_unfinished_training_do_not_count(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=1, more=fixture.EVALUATED)
    fixture.checkpoints(planned[0], newest=2, best=2)
    with open(os.path.join(planned[0].folder, "scores.json"), "w") as file:
        json.dump({"step": 2}, file)
    assert planned[0].scores() is None


def test_a_failed_run_is_reported_what_needs_it_is_left_and_the_rest_is_done(tmp_path):
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    os.makedirs(tmp_path / "runs")
    (tmp_path / "runs" / "broken_joint").touch()
    said = []
    failed = run(tmp_path, commands, planned, said)
    assert set(failed) == {
        "train joint, seed 0", "score joint, seed 0", "score look, seed 0", "train tuned, seed 0", "score tuned, seed 0"
    }  # fmt: skip
    assert "exit code 1: train.py: the corpus is missing" in failed["train joint, seed 0"]
    assert "training did not finish" in failed["train tuned, seed 0"]
    assert any("FAILED train joint, seed 0" in line for line in said)
    assert [job.name for job in missing(planned)] == list(failed)
    (tmp_path / "runs" / "broken_joint").unlink()
    assert run(tmp_path, commands, planned) == {}  # tried again


def test_of_two_at_once_none_begins_before_the_weights_it_needs(tmp_path):
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    os.makedirs(tmp_path / "runs")
    (tmp_path / "runs" / "slow").touch()
    said = []
    assert run(tmp_path, commands, planned, said, at_once=2) == {}
    begun = [line.split(" | ")[0].split(" ", 1)[1] for line in said]
    assert begun[:2] == ["train joint, seed 0", "train alone, seed 0"]
    assert sorted(begun) == sorted(
        [f"{kind} {name}, seed 0" for kind in ("train", "score") for name in ("joint", "alone", "tuned")]
        + ["score look, seed 0"]
    )
    threads = max(len(os.sched_getaffinity(0)) // 2, 1)
    assert f"starts at 0 threads {threads}" in log(tmp_path, "joint")
    assert missing(planned) == []


def test_a_failed_run_beside_another_leaves_that_alone(tmp_path):
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    os.makedirs(tmp_path / "runs")
    (tmp_path / "runs" / "broken_alone").touch()
    failed = run(tmp_path, commands, planned, at_once=2)
    assert set(failed) == {"train alone, seed 0", "score alone, seed 0"}
    assert [job.name for job in missing(planned)] == list(failed)


@pytest.mark.parametrize("at_once, stopped", [(1, "train joint, seed 0"), (2, "train joint, seed 0, train alone, seed 0")])
def test_a_signal_lets_the_runs_save_themselves_and_the_same_command_goes_on(tmp_path, at_once, stopped):
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    os.makedirs(tmp_path / "runs")
    (tmp_path / "runs" / "slow").touch()

    def stop():
        while not all(each.done() for each in planned[:at_once]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Stopped, match=f"SIGTERM during {stopped}; run the same command again"):
        run(tmp_path, commands, planned, at_once=at_once)
    thread.join()
    done = planned[0].done()
    assert 0 < done < 4
    (tmp_path / "runs" / "slow").unlink()
    assert run(tmp_path, commands, planned) == {}
    assert f"starts at {done}" in log(tmp_path, "joint")


def test_a_folder_of_another_configuration_is_refused(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=1)
    os.makedirs(planned[0].folder)
    path = os.path.join(planned[0].folder, "config.gin")
    with open(path, "w") as file:
        file.write(planned[0].configuration)
    missing(planned)
    with open(path, "w") as file:
        file.write(planned[0].configuration.replace("steps = 4", "steps = 9"))
    with pytest.raises(RunError, match=r"another configuration \(-loop.train.steps = 9; \+loop.train.steps = 4"):
        missing(planned)


def test_a_run_must_follow_what_it_starts_from(tmp_path):
    setting = Setting(str(tmp_path), (), (), 3)
    with pytest.raises(RunError, match="tuned starts from the run joint, which is not declared before it"):
        plan([Run("tuned", init_from="joint")], setting)
    assert [run.name for run in with_starts(["tuned"], fixture.RUNS)] == ["joint", "tuned"]


def test_a_chain_of_starts_is_trained_from_its_beginning(tmp_path):
    chain = (Run("joint"), Run("tuned", init_from="joint"), Run("look", init_from="tuned", trained=False), Run("alone"))
    runs = {run.name: run for run in chain}
    assert [run.name for run in with_starts(["look"], runs)] == ["joint", "tuned", "look"]
    _, planned = fixture.make(str(tmp_path), seeds=1, runs=runs)
    joint, tuned, look, alone = planned
    for scored in (joint, tuned, alone):  # their scores were kept from an earlier report, and their checkpoints were not
        write(os.path.join(scored.folder, SCORES), {"step": 4, "configuration": scored.digest})
    assert jobs(planned) == [("train", "joint", 0), ("train", "tuned", 0), ("score", "look", 0)]
    fixture.finish(tuned, 1.0)  # its start is not needed any more
    assert jobs(planned) == [("score", "look", 0)]


def test_scores_of_another_configuration_do_not_count(tmp_path):
    _, planned = fixture.make(str(tmp_path), seeds=1)
    joint = planned[0]
    for configuration, counts in (("another one", False), (joint.digest, True)):
        write(os.path.join(joint.folder, SCORES), {"step": 4, "configuration": configuration})
        assert (joint.scores() is not None) == counts
    commands, planned = fixture.make(str(tmp_path / "here"), seeds=1)
    assert run(tmp_path / "here", commands, planned) == {}
    _, changed = fixture.make(str(tmp_path / "here"), seeds=1, more="loop.train.max_bad_examples = 7\n")
    # "look" is only an evaluation, which leaves no configuration but that in its scores.
    assert [one.scores() is not None for one in planned] == [True] * 4 and changed[2].scores() is None
    assert planned[2].device() == processor()


def test_the_folder_of_all_runs_may_be_moved(tmp_path):
    _, planned = fixture.make(str(tmp_path / "here"), seeds=1)
    _, moved = fixture.make(str(tmp_path / "a" / "longer" / "way" / ("there" * 10)), seeds=1)
    before, after = (next(one for one in some if one.run.name == "tuned") for some in (planned, moved))
    assert before.configuration != after.configuration and before.digest == after.digest
    os.makedirs(after.folder)
    with open(os.path.join(after.folder, "config.gin"), "w") as file:
        file.write(before.configuration)
    after.check_same()
    with open(os.path.join(after.folder, "config.gin"), "w") as file:
        file.write(before.configuration.replace("joint/seed_0", "other/seed_0"))
    with pytest.raises(RunError, match="another configuration .*other/seed_0"):
        after.check_same()


def test_after_an_error_no_job_is_left_running(tmp_path, monkeypatch):
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "slow").touch()
    started = []

    class Failing(Runner):
        def _show(self, waiting):
            started[:] = [work.process for work in self._working]
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        Failing(commands, costs(tmp_path), lambda line: None, at_once=2).run(missing(planned))
    assert len(started) == 2 and all(process.returncode is not None for process in started)


def test_the_last_job_is_not_expected_to_become_faster(tmp_path):
    commands, planned = fixture.make(str(tmp_path), seeds=1)
    runner = Runner(commands, costs(tmp_path), at_once=2)
    work = Work(Job(planned[0], "train", 0), "[1/1]", None, "", 0, 300.0)
    runner._working.append(work)
    assert runner._left([]) == pytest.approx(600, abs=1)  # machine time, of which it has half
    assert runner._left([Job(planned[1], "train", 0)] * 100) > 600


def test_estimates_learn_from_what_was_timed(tmp_path):
    _, planned = fixture.make(str(tmp_path))
    os.makedirs(tmp_path / "runs")
    known, first = costs(tmp_path), planned[0]
    guess, other = known.seconds(first, "train", 100), known.seconds(planned[1], "train", 100)
    assert "nothing has been timed" in known.basis()
    known.add(first, "train", 100, 2 * guess)
    again = costs(tmp_path)  # read from disk
    assert again.seconds(first, "train", 50) == pytest.approx(guess, rel=0.01)
    assert again.seconds(planned[1], "train", 100) == pytest.approx(2 * other, rel=0.01)
    assert again.spent() == pytest.approx(2 * guess, rel=0.01) and "1 job timed" in again.basis()
    known.add(planned[1], "train", 100, 5.0)
    again.add(planned[1], "score", 0, 7.0)  # another process, whose memory lacks the former
    assert costs(tmp_path).spent() == pytest.approx(2 * guess + 12, rel=0.01)
    assert duration(29) == "0 min" and duration(3700) == "1 h 02 min"


def test_the_plan_of_the_command_shares_runs_and_names_steps_and_hours(tmp_path):
    done = command("reproduce.py", "--plan", "--table=1", "--table=2", "--table=3", "--seeds=2", f"--runs={tmp_path}")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1, "the columns are not aligned"
    names = [line.split(",")[0] for line in lines[1:-1]]
    assert names.count("joint") == 2 and len(names) == 2 * (1 + 8 + 1)  # joint, eight alone, parsing with ImageNet
    assert "20 runs, " in lines[-1] and "hours left" in lines[-1]
    assert not os.listdir(tmp_path)
    chosen = command("reproduce.py", "--plan", "--table=2", "--seeds=2", "--run=alone_wmt_*", f"--runs={tmp_path}")
    assert [line.split(",")[0] for line in chosen.stdout.splitlines()[1:-1]][:2] == ["alone_wmt_en_de", "alone_wmt_de_en"]
    assert "8 runs, " in chosen.stdout
    folder = command("reproduce.py", "--table=4", "--keep=docs", "--plan", f"--runs={tmp_path}")
    assert folder.returncode == 1 and "docs: Is a directory." in folder.stderr and "Traceback" not in folder.stderr
    alone = command("reproduce.py", "--table=4", "--run=joint_means", "--notrain", f"--runs={tmp_path}")
    assert alone.returncode == 1 and "--run chooses what is trained, and --notrain trains nothing" in alone.stderr
