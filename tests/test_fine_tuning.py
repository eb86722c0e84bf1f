"""Tests that the .gin file of docs/fine_tuning.md can be parsed, and that the parts that it names are those of the model."""

import os
import re

from t2t_mm.model import MultiModel
from t2t_mm.run import config
from t2t_mm.training import parts

PAGE = os.path.join(os.path.dirname(__file__), "..", "docs", "fine_tuning.md")


def test_the_pages_file_parses_and_every_macro_is_used(tmp_path, monkeypatch):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    block = re.search(r"(?:    .*\n|\n)*", page[page.index("    # captions.gin") :])[0]
    text = re.sub(r"^    ", "", block, flags=re.M).split("\npython ")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.gin").write_text(text)
    config.parse(["captions.gin"])
    config.check_macros()
    assert config.value_of("settings.Optimizer.rates") == {"image_in": 0.1}
    assert config.value_of("loop.train.steps") == 60
    every = MultiModel(9, ("To-English",), num_classes={"imagenet": 2}, depth=8, encoder_blocks=1, mixer_blocks=0,
                       decoder_blocks=1, mixtures=False).parts()  # fmt: skip
    for name in [*every, *parts.GROUPS]:
        assert f"`{name}`" in page, name
