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

# Minutes each: begun last, one of them would keep a worker busy while the other has nothing left.
LONGEST = ("test_unbroken.py", "test_export.py", "test_end_to_end.py", "test_step.py", "test_loop.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)
