"""The mutation run on a literal package of one module, with one test that notices and one that does not."""

import ast

import pytest

from t2t_mm.lab import mutation

MODULE = '''"""A docstring 1."""

def area(width: int = 3, height=4):
    """Never changed: 5."""
    if width < 0:
        raise ValueError("negative: 7")
    return width * height

def unseen(x, y):
    return max(x, y + 2)
'''
TEST = """from t2t_mm.shapes import area

def test_area():
    assert area(2, 5) == 10 and area() == 12 and area(0, 1) == 0
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "t2t_mm").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "t2t_mm" / "__init__.py").touch()
    (tmp_path / "t2t_mm" / "shapes.py").write_text(MODULE)
    (tmp_path / "tests" / "test_shapes.py").write_text(TEST)
    return str(tmp_path)


def test_each_mutant_is_another_program_and_no_text_is_changed():
    found = list(mutation.mutants_of("t2t_mm/shapes.py", MODULE))
    assert {m.kind for m in found} >= {"off by one", "turned condition", "wrong operator", "swapped arguments", "dropped term"}
    for mutant in found:
        changed = ast.parse(mutant.apply(MODULE))
        assert ast.dump(changed) != ast.dump(ast.parse(MODULE))
        for text in ("A docstring 1.", "Never changed: 5.", "negative: 7"):
            assert text in mutant.apply(MODULE)


def test_a_sample_is_the_same_for_the_same_seed(checkout):
    first, second, other = (mutation.sample(checkout, ["t2t_mm"], 3, seed) for seed in (1, 1, 2))
    assert first == second and first != other and len({(m.path, m.line) for m in first}) == 3


def test_faults_are_planted_and_the_survivors_are_those_that_no_test_meets(checkout):
    lines = []
    found = mutation.run(checkout, ["t2t_mm/shapes.py"], count=20, seed=0, jobs=1, progress=lines.append)
    assert found["mutants"] == len(lines) >= 4
    survivors = {survivor["place"].rsplit(":", 1)[1] for survivor in found["survivors"]}
    assert survivors == {"10"}, "all but the function without a test are noticed"
    assert found["noticed"] == found["mutants"] - 1 and "shapes.py:10" in mutation.page(found)
    with open(f"{checkout}/t2t_mm/shapes.py") as file:
        assert file.read() == MODULE, "the checkout itself was changed"
