"""Tests that the examples of docs/fine_tuning.md are complete, and that the parts that it names are those of the model."""

import glob
import os
import re

import pytest

from t2t_mm import experiment
from t2t_mm.common import config
from t2t_mm.model import MultiModel
from t2t_mm.training import parts

TOP = os.path.join(os.path.dirname(__file__), "..")
FILES = sorted(glob.glob(os.path.join(TOP, "gin", "fine_tuning", "*.gin")))
EXAMPLES = [path for path in FILES if not path.endswith("few_examples.gin")]


@pytest.fixture(scope="module")
def page():
    with open(os.path.join(TOP, "docs", "fine_tuning.md"), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_every_example_declares_one_problem_and_is_on_the_page(path, page):
    config.parse([path])
    config.check_macros()
    (problem,) = config.configured(experiment.Experiment)().problems
    assert problem.source is not None and config.value_of("loop.train.steps") == 120
    name = os.path.basename(path).removesuffix(".gin")
    started = re.findall(rf"python bin/train.py --gin_file=gin/fine_tuning/{name}.gin (.*)", page)
    assert started == [f"--init_from=models/mini --model_dir=runs/{name}", f"--model_dir=runs/{name}_alone"]


def test_the_page_names_every_part_of_a_model(page):
    every = MultiModel(9, ("To-English",), num_classes={"imagenet": 2}, depth=8, encoder_blocks=1, mixer_blocks=0,
                       decoder_blocks=1, mixtures=False).parts()  # fmt: skip
    for name in [*every, *parts.GROUPS]:
        assert f"`{name}`" in page, name
