import gc
import os

# What XLA and JAX compute is the same without optimizations; compiling is most of what these tests take.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import pytest
from hypothesis import settings

# The same examples in every run; --hypothesis-profile=default looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Two devices on any machine, for the tests of replicas.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # As `traces.trace_once` does, also for the graphs of tests that create no model of an experiment.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# These come first: those that often wait for a process or a server, because the tests with JAX use the cores at the same time,
# and then those that take a minute. Begun last, one of them would keep a worker busy while the others have nothing left.
FIRST = (
    "training/test_unbroken.py", "test_end_to_end.py", "serving/", "lab/test_mutation.py", "export/test_export.py",
    "training/test_loop.py", "training/test_step.py",
)  # fmt: skip
# Files and folders that `bin/test.sh --quick` leaves out, besides those: they train, export, serve, start processes, or
# trace many graphs. Single slow tests are marked where they stand.
SLOW = (
    "bin/test_shell_scripts.py", "lab/benchmarks/", "lab/tables/test_init_from.py", "lab/tables/test_runner.py",
    "input/test_prepare.py", "input/test_prepare_beam.py", "input/test_pipeline.py", "corpora/test_tfds.py",
    "training/test_static_shapes.py", "training/test_loss_scale.py", "inference/", "mini/test_corpora.py", "test_bfloat16.py",
    "test_model.py", "test_wheel.py", "layers/test_moe.py", "layers/test_convolution.py", "modalities/",
    "lab/test_inspection.py", "lab/tables/test_tables.py", "export/test_imports.py", "corpora/test_real_samples.py",
    "test_sizes.py", "input/test_augmentation.py", "run/test_checkpoints.py", "test_formulas.py", "test_start.py",
    "test_your_data.py", "test_keras.py", "run/test_pack.py", "test_model_mini.py",
)  # fmt: skip
TESTS = os.path.dirname(__file__)


def pytest_collection_finish():
    """Spares Python from searching the libraries and the collected tests for reference cycles all the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_modifyitems(items):
    places = {}
    for item in items:
        path = os.path.relpath(item.path, TESTS)
        place = next((place for place, start in enumerate(FIRST) if path.startswith(start)), len(FIRST))
        places[item] = place
        if place < len(FIRST) or path.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=places.get)


def _eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def eagerly():
    """Step by step costs a tenth of tracing, with the same losses; test_step and test_end_to_end compile."""
    yield from _eager()


@pytest.fixture
def uncompiled():
    """The same for one test, such as one of many models, which take longer to trace than to compute."""
    yield from _eager()


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)
