"""Tests what is told when a file cannot be written."""

import os

import pytest
import tensorflow as tf

from t2t_mm.common.errors import RunError
from t2t_mm.common.files import write_whole
from t2t_mm.common.writing import is_of_a_disk, reason_of, writing


@pytest.mark.parametrize(
    "error, reason",
    [
        (
            tf.errors.ResourceExhaustedError(
                None, None, "{{function_node __wrapped__SaveV2_dtypes_2_device_/job:localhost}} /r/part-00000-of-00001.data-"
                "00000-of-00001.tempstate13654885646036514675; No space left on device [Op:SaveV2]",
            ),
            "no space left on the device",
        ),
        (OSError(28, "No space left on device", "/r/x"), "no space left on the device"),
        (PermissionError(13, "Permission denied"), "permission denied"),
        (tf.errors.FailedPreconditionError(None, None, "/r/file is not a directory"), "/r/file is not a directory"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failed_write_has_nothing_of_tensorflow(error, reason):
    assert reason_of(error) == reason


def test_errors_of_a_disk_are_told_from_faults_of_a_graph():
    too_large = tf.errors.OutOfRangeError(None, None, "/r/part-00000; File too large")
    assert is_of_a_disk(too_large) and is_of_a_disk(OSError(28, "No space left on device"))
    assert not is_of_a_disk(tf.errors.OutOfRangeError(None, None, "End of sequence"))
    assert not is_of_a_disk(tf.errors.InvalidArgumentError(None, None, "bad shape"))


def test_a_full_disk_is_one_sentence_with_the_file(tmp_path):
    full = tmp_path / "records"
    os.symlink("/dev/full", full)
    message = f"^{full}: cannot be written: no space left on the device. Free some space and start the same command again.$"
    with pytest.raises(RunError, match=message), writing(str(full)), tf.io.TFRecordWriter(str(full)) as file:
        file.write(b"a" * 100_000)
    os.symlink("/dev/full", tmp_path / "answers.part")
    with pytest.raises(OSError) as raised:
        write_whole(str(tmp_path / "answers"), "a")
    assert raised.value.filename == str(tmp_path / "answers") and os.listdir(tmp_path) == ["records"]
