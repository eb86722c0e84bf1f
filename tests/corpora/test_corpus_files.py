"""Tests how readers find their files by glob patterns."""

import glob
import os

import pytest

from t2t_mm.corpora.corpus_files import matching_files

FILES = (
    "a.tsv", ".hidden.tsv", "b/a.tsv", "b/c/a.tsv", "b/c/d/e.tsv", "b/c/d/e.csv", "[x]/a.tsv", ".h/a.tsv", "bb/c/a.tsv",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / "[root]" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "[root]" / name).write_text("")
    return tmp_path / "[root]"


@pytest.mark.parametrize("pattern", [
    "*.tsv", "b/*.tsv", "**/*.tsv", "b/**/*.tsv", "b*/**/a.tsv", "**/c/**/*.[tc]sv", "**/c/*.tsv", "absent/**/*.tsv",
    "**/d/**/e.tsv", "b/**.tsv", "**/.hidden.tsv",
])  # fmt: skip
def test_patterns_mean_what_they_mean_for_glob(folder, pattern):
    expected = sorted(glob.glob(os.path.join(glob.escape(str(folder)), pattern), recursive=True))
    assert matching_files(str(folder), [pattern, pattern]) == expected
    assert expected or "absent" in pattern


def test_links_are_followed_but_not_in_circles(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "z.tsv").write_text("")
    (folder / "b" / "linked").symlink_to(tmp_path / "other")
    for number in range(3):  # glob.glob would return some 2^60 paths
        (folder / "b" / "c" / f"up{number}").symlink_to(folder)
    found = [os.path.relpath(path, folder) for path in matching_files(str(folder), ["b/**/*.tsv"])]
    assert {"b/a.tsv", "b/c/a.tsv", "b/c/d/e.tsv", "b/linked/z.tsv"} <= set(found) and len(found) < 20
