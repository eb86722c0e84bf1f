"""Tests that files are written completely or not at all, and their JSON."""

import json
import os

import pytest

from t2t_mm.common.files import write_json, write_whole

CONTENT = {
    "numbers": [1, -2.5e-9, 3], "strings": ["[\n 1,\n 2\n]", "ä"], "nested": [1, [2, 3], []], "else": [None, 1, True],
    "in a dict": {"deep": [{"values": [0.5, 1e30]}]},
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 1, 2])
def test_json_is_what_was_written(tmp_path, indent):
    path = str(tmp_path / "file.json")
    write_json(path, CONTENT, indent=indent)
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == CONTENT


def test_an_array_of_numbers_has_a_line(tmp_path):
    path = tmp_path / "file.json"
    write_json(str(path), CONTENT, indent=1)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert ' "numbers": [1, -2.5e-09, 3],' in lines and '    "values": [0.5, 1e+30]' in lines


def test_a_file_is_never_there_in_part(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    write_whole(path, "before")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"after")
    with open(path) as file:
        assert file.read() == "before"
