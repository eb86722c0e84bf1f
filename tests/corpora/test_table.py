"""Tests the examples and reports from tables."""

import gzip
import json

import pytest

from t2t_mm.corpora.example import CorpusError, DeclarationError, Report, TooManyBadExamples
from t2t_mm.corpora.table import Table


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(table, split="train", max_bad=100):
    report = Report("own", max_bad)
    return [(e.inputs, e.targets) for e in table.examples(split, report)], report


def table(folder, **settings):
    return Table(str(folder.parent), folder.name, **({"input": "text", "target": "label"} | settings))


ALL = {"train": ("train.*",), "dev": ("train.*",), "test": ("train.*",)}


def test_csv_has_quoted_fields_that_span_lines_and_columns_of_no_interest(tmp_path):
    write(tmp_path, train__csv='\ufeffid,label,text\n1,good,"one, two"\n2,bad,"three\nfour ""five"""\n')
    found, report = read(table(tmp_path, files=ALL))
    assert found == [("one, two", "good"), ('three four "five"', "bad")] and not report.skipped


def test_a_table_and_its_compressed_copy_are_one(tmp_path):
    text = "text,label\none,good\n"
    write(tmp_path, train__csv=text, train__csv__gz=gzip.compress(text.encode()), train__tsv="text\tlabel\ntwo\tbad\n")
    assert sorted(read(table(tmp_path, files=ALL))[0]) == [("one", "good"), ("two", "bad")]


def test_the_origin_of_a_row_is_the_line_that_it_begins_at(tmp_path):
    write(tmp_path, train__csv='text,label\n"a\nb",x\nc,y\n')
    origins = [e.origin for e in table(tmp_path, files=ALL).examples("train", Report("own"))]
    assert [origin.rsplit(":", 1)[1] for origin in origins] == ["2", "4"]


def test_tsv_fields_hold_quotation_marks_as_common_voice_writes_them(tmp_path):
    write(tmp_path, train__tsv='client\ttext\tlabel\n1\t"Yes, he said\tgood\n')
    assert read(table(tmp_path, files=ALL))[0] == [('"Yes, he said', "good")]


def test_json_lines_and_gz(tmp_path):
    rows = [{"text": "a", "label": 3, "more": [1]}, {"label": "b", "text": "ü"}]
    lines = "\n".join(json.dumps(row) for row in rows)
    write(tmp_path, train__jsonl__gz=gzip.compress(lines.encode()))
    assert read(table(tmp_path, files={"train": ("*.jsonl.gz",)}, held_out=0.01))[0] == [("a", "3"), ("ü", "b")]


def test_another_delimiter(tmp_path):
    write(tmp_path, train__csv="text;label\na,b;c\n")
    assert read(table(tmp_path, files=ALL, delimiter=";"))[0] == [("a,b", "c")]


@pytest.mark.parametrize(
    "row,reason",
    [
        (b"only one field\n", "1 fields, but the header has 2"),
        (b",good\n", "the column 'text' contains ''"),
        (b"caf\xe9,good\n", "not UTF-8"),
        (b'"a"b,good\n', "not a row of a CSV file"),
    ],
)
def test_a_row_that_cannot_be_used_is_reported_with_its_line(tmp_path, row, reason):
    write(tmp_path, train__csv=b"text,label\n" + row + b"fine,good\n")
    found, report = read(table(tmp_path, files=ALL))
    assert found == [("fine", "good")]
    [(origin, told)] = report.skipped.items()
    assert origin.endswith("train.csv:2") and reason in told
    with pytest.raises(TooManyBadExamples):
        read(table(tmp_path, files=ALL), max_bad=0)


def test_a_tenth_is_held_out_for_each_split_that_has_no_table(tmp_path):
    write(tmp_path, train__csv="text,label\n" + "".join(f"row {number},x\n" for number in range(2000)))
    found = {split: read(table(tmp_path, files={"train": ("train.*",)}), split)[0] for split in ("train", "dev", "test")}
    assert sum(map(len, found.values())) == 2000 == len(set().union(*found.values()))
    assert 150 < len(found["dev"]) < 250 and 150 < len(found["test"]) < 250  # 200, with a standard deviation of 13


def test_a_quotation_mark_that_is_never_closed_loses_no_row_in_silence(tmp_path):
    write(tmp_path, train__csv='text,label\nfine,good\n"open,good\n' + "a,b\n" * 3000)
    found, report = read(table(tmp_path, files=ALL))
    assert found[0] == ("fine", "good") and len(found) > 1900
    assert any("quotation mark" in reason for reason in report.skipped.values())


@pytest.mark.parametrize("line,reason", [
    ("{", "not JSON"), ("[1]", "a JSON list"), ('{"text": {}, "label": "x"}', "not text"),
    ('{"text": "a\\u0000b", "label": "x"}', "'text' contains a NUL character at position 1"),
    ('{"text": "ab", "label": "x\\ud800"}', "'label' contains half of a surrogate pair at position 1"),
])  # fmt: skip
def test_a_json_line_that_cannot_be_used_is_reported(tmp_path, line, reason):
    write(tmp_path, train__jsonl=line + '\n{"text": "a", "label": "b"}\n')
    found, report = read(table(tmp_path, files=ALL))
    assert found == [("a", "b")] and reason in next(iter(report.skipped.values()))


def test_a_misspelt_column_names_what_is_near(tmp_path):
    write(tmp_path, train__csv="texts,label\na,b\n")
    with pytest.raises(CorpusError, match=r"train.csv:1: no column 'text' \(did you mean texts\?\).*'texts', 'label'"):
        read(table(tmp_path, files=ALL))


@pytest.mark.parametrize("header, delimiter, hint", [
    ("id;text;label", ",", "If ';' separates its fields, set `delimiter` to it"),
    ("id,text,label", ";", "If ',' separates its fields, set `delimiter` to it"),
])  # fmt: skip
def test_another_delimiter_is_suggested(tmp_path, header, delimiter, hint):
    write(tmp_path, train__csv=f"{header}\n")
    with pytest.raises(CorpusError, match=f"train.csv:1: no column 'text'.*{hint}"):
        read(table(tmp_path, files=ALL, delimiter=delimiter))


def test_a_missing_folder_and_a_file_that_is_no_list_are_named(tmp_path):
    with pytest.raises(CorpusError, match=f"at {tmp_path}/nowhere: no such path, because .* Correct the `root` or `folder`"):
        read(Table(str(tmp_path), "nowhere", "text", "label"))
    write(tmp_path, all__csv="text,label\na,b\n")
    with pytest.raises(CorpusError, match=rf"Looked for a table train.tsv .* in {tmp_path}, which has all.csv\."):
        read(table(tmp_path, files={"train": ["train.tsv"]}))
    with pytest.raises(DeclarationError, match=r"files has 'all.csv' for train; it must be a list, as in \['all.csv'\]."):
        table(tmp_path, files={"train": "all.csv"})


def test_too_few_rows_to_hold_some_out_are_named(tmp_path):
    write(tmp_path, train__csv="text,label\na,b\n")
    with pytest.raises(
        CorpusError, match="too few rows in .*train.csv to hold out some for dev, with held_out = 0.01. Increase"
    ):
        read(table(tmp_path, files={"train": ("train.csv",)}, held_out=0.01), "dev")


def test_files_are_below_the_media_folder_and_a_missing_one_is_reported(tmp_path):
    write(tmp_path, train__tsv="text\tlabel\na.mp3\thello\nb.mp3\tworld\n")
    (tmp_path / "clips").mkdir()
    with pytest.raises(CorpusError, match=r"the first problem is .*train.tsv:2: its file .*a.mp3 does not exist; is `media`"):
        read(table(tmp_path, files=ALL, media="clips"))
    with pytest.raises(CorpusError, match="cilps: no such folder, so `media` of the table is wrong."):
        read(table(tmp_path, files=ALL, media="cilps"))
    write(tmp_path / "clips", a__mp3=b"sound")
    found, report = read(table(tmp_path, files=ALL, media="clips"))
    assert found == [(str(tmp_path / "clips" / "a.mp3"), "hello")]
    assert "b.mp3 does not exist" in next(iter(report.skipped.values()))


def test_classes_are_those_of_the_training_table_in_sorted_order(tmp_path):
    write(tmp_path, train__csv="text,label\na,pos\nb,neg\n", dev__csv="text,label\nc,pos\nd,neq\n")
    one = table(tmp_path, classes=True, files={"train": ("train.csv",), "dev": ("dev.csv",)}, held_out=0.01)
    assert one.class_names() == ["neg", "pos"] and read(one)[0] == [("a", 1), ("b", 0)]
    found, report = read(one, "dev")
    assert found == [("c", 1)] and "'neq'" in str(report.skipped) and "(did you mean neg?)" in str(report.skipped)


def test_missing_splits_are_held_out_by_the_input(tmp_path):
    rows = [f"sentence {i % 200},{i}" for i in range(400)]
    write(tmp_path, all__csv="text,label\n" + "\n".join(rows) + "\n")
    one = table(tmp_path, files={"train": ("all.csv",)}, held_out=0.2)
    splits = {split: read(one, split)[0] for split in ("train", "dev", "test")}
    inputs = [{text for text, _ in found} for found in splits.values()]
    assert sum(map(len, splits.values())) == 400
    assert not inputs[0] & inputs[1] and not inputs[0] & inputs[2] and not inputs[1] & inputs[2]
    assert all(40 <= len(splits[split]) <= 120 for split in ("dev", "test"))
    write(tmp_path, all__csv="text,label\nnew,0\n" + "\n".join(rows) + "\n")
    assert set(splits["dev"]) <= set(read(one, "dev")[0]), "a new row moves others between the splits"


def test_settings_that_cannot_be_meant(tmp_path):
    with pytest.raises(ValueError, match="needs train"):
        table(tmp_path, files={"dev": ("dev.csv",)})
    with pytest.raises(ValueError, match="held_out is 0.5"):
        table(tmp_path, held_out=0.5)
    with pytest.raises(CorpusError, match="a table train"):
        read(table(tmp_path, files={"train": ("train.csv",)}))
    write(tmp_path, train__txt="text\n")
    with pytest.raises(CorpusError, match="a table must have the extension"):
        read(table(tmp_path, files={"train": ("train.txt",)}))
