import keras
import pytest

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Two devices on any machine, for the tests of replicas.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)
