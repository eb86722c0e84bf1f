"""Tests the private parts of gin-config and Keras that the package uses. A failure shows what a new release has changed.

setup.py limits the versions of both. Only t2t_mm/common/config.py and t2t_mm/training/optimizer.py may use them.
"""

import ast
import inspect
import os

import keras
import pytest

import t2t_mm
from gin import config as gin_config

LIBRARIES = ("gin_config", "gin", "keras")


@pytest.mark.parametrize("name", ["_CONFIG", "_OPERATIVE_CONFIG", "_REGISTRY", "_FILE_READERS", "_LOCATION_PREFIXES"])
def test_gin_has_the_tables_that_the_strict_checks_read(name):
    assert hasattr(gin_config, name), f"gin.config.{name} is gone; t2t_mm/common/config.py reads it"


def test_gins_tables_have_the_form_that_the_strict_checks_expect():
    import gin

    gin.clear_config()
    gin.parse_config("rate = 0.5")
    assert gin_config._CONFIG == {("rate", "gin.macro"): {"value": 0.5}}
    assert isinstance(gin_config._FILE_READERS, list) and len(gin_config._FILE_READERS[0]) == 2
    assert hasattr(gin_config._REGISTRY, "get_match") and hasattr(gin_config.ConfigurableReference, "config_key")
    gin.clear_config()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the optimizer is TensorFlow's")
@pytest.mark.parametrize(
    "name, parameters",
    [
        ("_backend_update_step", ["self", "grads", "trainable_variables", "learning_rate"]),
        ("_all_reduce_sum_gradients", ["self", "grads_and_vars"]),
        ("_get_variable_index", ["self", "variable"]),
    ],
)
def test_keras_optimizers_have_the_methods_that_ours_overrides(name, parameters):
    method = getattr(keras.optimizers.Adam, name, None)
    assert method is not None, f"keras.optimizers.Adam.{name} is gone; t2t_mm/training/optimizer.py overrides or calls it"
    assert list(inspect.signature(method).parameters) == parameters


def test_keras_adam_keeps_its_moments_where_ours_looks_for_them():
    adam, variable = keras.optimizers.Adam(), keras.Variable([0.0])
    adam.build([variable])
    assert len(adam._momentums) == len(adam._velocities) == 1


def test_no_other_module_uses_private_parts_of_them():
    package, found = os.path.dirname(t2t_mm.__file__), []
    for folder, _, files in os.walk(package):
        for path in (os.path.join(folder, file) for file in files if file.endswith(".py")):
            with open(path, encoding="utf-8") as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                private = isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
                if private and isinstance(node.value, ast.Name) and node.value.id in LIBRARIES:
                    found.append(os.path.relpath(path, package))
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"):
                    found.append(os.path.relpath(path, package))
    assert set(found) == {"common/config.py"}
