"""Tests that an error of the graph reaches clients as it was written."""

import re

import pytest
import tensorflow as tf

from t2t_mm.serving.errors import from_tensorflow


@pytest.mark.parametrize(
    "message",
    [
        'command[0]: unknown command "To-Klingon"', 'command[0]: unknown command "Übersetze 日本"; it\'s a\ttab',
        'inputs[1]: a \\303\\204 that was \\"typed\\" so', "a\nline and a back\\slash, and 0\\1\\12",
    ],
)  # fmt: skip
def test_the_text_of_an_assertion_is_whole(message):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        check = tf.debugging.Assert(tf.constant(False), [tf.constant(message)])
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            session.run(check)
    # Without the lines of Python that made the graph, which a loaded graph does not have.
    text = re.search(r"assertion failed: .*?\](?=\n\t \[\[|\s*$|\n\nOriginal)", caught.value.message, re.DOTALL)[0]
    assert from_tensorflow(tf.errors.InvalidArgumentError(None, None, text)).message == message


def test_escaped_bytes_make_characters_beside_others():
    error = tf.errors.InvalidArgumentError(None, None, r"assertion failed: [\"\303\204 ä 日\" and half of one: \303]")
    assert from_tensorflow(error).message == '"Ä ä 日" and half of one: \ufffd'
