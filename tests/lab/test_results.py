"""Tests which commit the results record."""

import subprocess

import pytest

from t2t_mm.lab import results


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "file").touch()
    author = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    for arguments in (("init", "--quiet"), ("add", "file"), (*author, "commit", "--quiet", "--message=One")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_the_commit_is_that_of_the_folder_of_the_package(repository, monkeypatch):
    monkeypatch.setattr(results, "__file__", str(repository / "t2t_mm" / "lab" / "results.py"))
    (repository / "t2t_mm" / "lab").mkdir(parents=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout
    assert results._commit.__wrapped__() == commit[:12]


def test_a_wheel_inside_another_repository_has_no_commit(repository, monkeypatch):
    packages = repository / ".venv" / "lib"
    monkeypatch.setattr(results, "__file__", str(packages / "t2t_mm" / "lab" / "results.py"))
    (packages / "t2t_mm" / "lab").mkdir(parents=True)
    assert results._commit.__wrapped__() == "unknown"
