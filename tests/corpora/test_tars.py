"""Tests that the tars of ILSVRC are read in place, also with a flat val folder, and that unsafe members are rejected."""

import io
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from t2t_mm.corpora.example import CorpusError, MediaError, Report
from t2t_mm.corpora.image_folders import ImageFolders
from t2t_mm.corpora.pictures import load_image
from t2t_mm.corpora.tars import members, nested_members


def picture(colour, mode="RGB", format="JPEG"):
    file = io.BytesIO()
    Image.new(mode, (9, 7), colour).save(file, format)
    return file.getvalue()


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data or b""))
    return out.getvalue()


def ilsvrc(tmp_path, train, val=None, labels=None):
    folder = tmp_path / "imagenet"
    folder.mkdir()
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar(train))
    if val is not None:
        (folder / "ILSVRC2012_img_val.tar").write_bytes(tar(val))
    if labels is not None:
        (folder / "val_labels.txt").write_text(labels)
    return ImageFolders(str(tmp_path))


BOTH = {
    "n00000002.tar": tar({"n00000002_1.JPEG": picture(200, "L"), "n00000002_2.JPEG": picture((0, 0, 0, 55), "CMYK")}),
    "n00000001.tar": tar({"n00000001_7.JPEG": picture((200, 200, 200), format="PNG")}),
}
VAL = {f"ILSVRC2012_val_0000000{i}.JPEG": picture((i, i, i)) for i in (3, 1, 2)}


def test_an_empty_member_is_a_member(tmp_path):
    """What is in it is for its reader to refuse, by name; the archive is whole."""
    (tmp_path / "a.tar").write_bytes(tar({"one": b"1", "none": b"", "two": b"22"}))
    found = list(members(str(tmp_path / "a.tar"), Report("x", 0)))
    assert [(name, size) for name, _, size in found] == [("one", 1), ("none", 0), ("two", 2)]


def test_the_tars_are_read_in_place_whatever_kind_the_pictures_are(tmp_path):
    source, report = ilsvrc(tmp_path, BOTH, VAL, "n00000002\nn00000001\nn00000002\n"), Report("x", 0)
    assert source.class_names() == ["n00000001", "n00000002"]
    train = source.examples("train", report)
    assert [(e.targets, e.origin.split(":")[-1]) for e in train] == [
        (1, "n00000002_1.JPEG"), (1, "n00000002_2.JPEG"), (0, "n00000001_7.JPEG")
    ]  # fmt: skip
    for example in train:
        np.testing.assert_allclose(load_image(example.inputs, 8), 200, atol=2)
    dev = source.examples("dev", report)
    assert [e.targets for e in dev] == [1, 0, 1]
    assert [round(float(load_image(e.inputs, 8).mean())) for e in dev] == [1, 2, 3]  # sorted by name
    assert not (tmp_path / "n00000001").exists()


@pytest.mark.parametrize("named", [False, True])
def test_a_flat_val_with_its_list(tmp_path, named):
    source = ilsvrc(tmp_path, BOTH)
    (tmp_path / "imagenet" / "val").mkdir()
    for name, data in VAL.items():
        (tmp_path / "imagenet" / "val" / name).write_bytes(data)
    with pytest.raises(CorpusError, match="label list.*val_labels.txt.*make_mini"):
        source.examples("dev", Report("x"))
    labels = ["n00000002", "n00000001", "n00000002"]
    lines = [f"ILSVRC2012_val_0000000{i}.JPEG {label}" if named else label for i, label in enumerate(labels, start=1)]
    (tmp_path / "imagenet" / "val_labels.txt").write_text("\n".join(lines[::-1] if named else lines) + "\n")
    assert [e.targets for e in source.examples("dev", Report("x"))] == [1, 0, 1]
    (tmp_path / "imagenet" / "val_labels.txt").write_text("n00000002\n")
    with pytest.raises(CorpusError, match="has 3 images, but its label list has 1 lines"):
        source.examples("dev", Report("x"))


def test_odd_members_are_reported_and_reach_nothing(tmp_path):
    odd = {
        "../n00000003.tar": tar({"a.JPEG": picture(1, "L")}),
        "n00000004.tar": b"no tar at all" * 100,
        "n00000001.tar": tar({"../../escape.JPEG": picture(1, "L"), "link.JPEG": None, "notes.txt": b"x"}),
    }
    source, report = ilsvrc(tmp_path, odd), Report("x")
    (example,) = source.examples("train", report)
    assert load_image(example.inputs, 8).shape == (8, 8, 3) and not list(tmp_path.parent.glob("escape*"))
    reasons = sorted(report.skipped.values())
    assert len(reasons) == 4 and "not named <synset>.tar" in reasons[2]
    assert any("not a regular file" in reason for reason in reasons)
    assert any("not a readable tar" in reason for reason in reasons)


def test_a_tar_cut_off_is_one_error(tmp_path):
    ilsvrc(tmp_path, BOTH)
    path = tmp_path / "imagenet" / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:12000])
    with pytest.raises(CorpusError, match="truncated|not a readable tar"):
        list(members(str(path), Report("x")))
    with pytest.raises(MediaError, match="truncated: the archive ends"):
        load_image(f"{path}#11000+5000", 8)
    with pytest.raises(MediaError, match="nowhere.tar"):
        load_image("nowhere.tar#0+5", 8)


@given(st.binary(max_size=200), st.integers(0, 20000), st.integers(0, 30000))
@settings(max_examples=60, deadline=None)
def test_any_damage_ends_in_an_error_or_a_report(tmp_path_factory, junk, where, end):
    path = tmp_path_factory.mktemp("t") / "x.tar"
    data = tar(BOTH)
    path.write_bytes((data[:where] + junk + data[where + len(junk) :])[:end])
    try:
        for _, _, offset, size in nested_members(str(path), Report("x", 5)):
            assert 0 <= offset <= offset + size <= path.stat().st_size
    except CorpusError as error:
        assert "x.tar" in str(error)
