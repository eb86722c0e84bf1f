"""Tests the inputs that commands get from flags, standard input and files."""

import io
from types import SimpleNamespace

import pytest

from t2t_mm.common import command_inputs
from t2t_mm.common.command_inputs import Given, given
from t2t_mm.corpora.example import CorpusError


@pytest.fixture
def stdin(monkeypatch):
    def hold(data):
        monkeypatch.setattr(command_inputs.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return hold


def test_flags_lines_and_files_keep_their_order(tmp_path, stdin):
    stdin(b"one\r\n\n two ")
    (tmp_path / "lines").write_bytes(b"\xef\xbb\xbfthree\n")
    assert list(given(["a", "-", "b"], [str(tmp_path / "lines")], ["input"])) == [
        Given("--input number 1", ("a",)), Given("standard input:1", ("one",)), Given("standard input:2", ()),
        Given("standard input:3", ("two",)), Given("--input number 3", ("b",)), Given(f"{tmp_path}/lines:1", ("three",)),
    ]  # fmt: skip


def test_a_text_that_is_a_path_is_told(tmp_path, capsys):
    (tmp_path / "lines.txt").write_text("one")
    command_inputs.warn_of_path("a sentence")
    command_inputs.warn_of_path(str(tmp_path))
    assert capsys.readouterr().err == ""
    command_inputs.warn_of_path(f"{tmp_path}/lines.txt")
    assert f"give --input_file={tmp_path}/lines.txt." in capsys.readouterr().err


def test_several_values_belong_together(stdin):
    stdin(b"c.jpg\twhat ?\n\n")
    found = [one.values for one in given(["a.jpg", "who ?", "b.jpg", "why ?", "-"], [], ["image", "language"])]
    assert found == [("a.jpg", "who ?"), ("b.jpg", "why ?"), ("c.jpg", "what ?"), ()]


def test_values_of_flags_follow_the_rules_for_all_text():
    assert [one.values for one in given(["\ufeffa\rb"], [], ["input"])] == [("a b",)]
    with pytest.raises(CorpusError, match=r"--input='a.*b': line 1: not UTF-8: byte 0xff at position 1"):
        list(given(["a\udcffb"], [], ["input"]))


@pytest.mark.parametrize("inputs, lines, message", [
    ([], b"", "No input; give --input="),
    (["a.jpg", "what ?", "b.jpg"], b"", "--input=b.jpg: 1 input.s. instead of 2: image, language"),
    (["a.jpg", ""], b"", "--input=: 1 input.s. instead of 2"),
    (["a.jpg", "-", "what ?"], b"", "--input=a.jpg: 1 input.s. instead of 2"),
    (["-"], b"a\tb\n\na\t\n", "standard input:3: 1 input.s. instead of 2"),
    (["-"], b"a\tb\tc\n", "standard input:1: 3 input.s. instead of 2"),
    (["-"], b"a\tb\n\xff\n", "standard input:2: not UTF-8"),
])  # fmt: skip
def test_what_is_missing_or_left_over_is_named(inputs, lines, message, stdin):
    stdin(lines)
    with pytest.raises(CorpusError, match=message):
        list(given(inputs, [], ["image", "language"]))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CorpusError, match="absent: No such file"):
        list(given([], [str(tmp_path / "absent")], ["input"]))
