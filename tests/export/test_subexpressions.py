"""Tests which computations of the functions of an export are merged."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2

from t2t_mm.export import subexpressions


def graph_of(function, *specs):
    """A graph with one function, and how often each operation is in it."""
    concrete = tf.function(function, autograph=False, input_signature=specs).get_concrete_function()
    graph = graph_pb2.GraphDef()
    graph.library.function.add().CopyFrom(concrete.function_def)
    return graph


def counts(graph):
    found: dict = {}
    for node in graph.library.function[0].node_def:
        found[node.op] = found.get(node.op, 0) + 1
    return found


def run(graph, *arguments):
    """What the graph's function answers in a session, as servers run it."""
    signature = graph.library.function[0].signature
    outputs = [argument.type for argument in signature.output_arg]
    with tf.Graph().as_default() as whole:
        tf.graph_util.import_graph_def(graph, name="")
        inputs = [tf.constant(x) for x in arguments]
        types = [[x.dtype.as_datatype_enum for x in inputs], outputs]
        kinds = [attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue(type=one)) for one in types]
        called = attr_value_pb2.AttrValue(func=attr_value_pb2.NameAttrList(name=signature.name))
        attrs = {"f": called, "Tin": kinds[0], "Tout": kinds[1]}
        call = whole.create_op("StatefulPartitionedCall", inputs, outputs, attrs=attrs)
        with tf.compat.v1.Session(graph=whole) as session:
            return session.run(call.outputs)


VECTOR = tf.TensorSpec([None], tf.float32)


def test_equal_computations_are_one_and_give_the_same():
    def function(x):
        one, other = tf.reshape(x, [-1, 2]) * 3.0, tf.reshape(x, [-1, 2]) * 3.0
        unneeded = tf.reduce_sum(x)
        del unneeded
        return one + tf.reduce_mean(other, axis=0)

    graph = graph_of(function, VECTOR)
    x = np.arange(4, dtype=np.float32)
    before = run(graph, x)
    subexpressions.merge(graph)
    after = counts(graph)
    assert (after["Reshape"], after["Mul"], after.get("Sum", 0)) == (1, 1, 0)
    np.testing.assert_array_equal(run(graph, x), before)


def test_constants_of_other_types_and_values_stay_apart():
    def function(x):
        return x + 1.0, tf.cast(x, tf.int32) + 1, x + 1.5

    graph = graph_of(function, VECTOR)
    subexpressions.merge(graph)
    assert counts(graph)["Const"] == 3
    found = run(graph, np.array([2.0], np.float32))
    assert [float(one[0]) for one in found] == [3.0, 3.0, 3.5]


def test_memory_that_is_written_in_place_is_not_shared():
    def function(x):
        one, other = tf.raw_ops.DeepCopy(x=x), tf.raw_ops.DeepCopy(x=x)
        row, nine = tf.constant([0]), tf.constant([9.0])
        return tf.raw_ops.InplaceUpdate(x=one, i=row, v=nine), other + 0.0

    graph = graph_of(function, VECTOR)
    subexpressions.merge(graph)
    assert counts(graph)["DeepCopy"] == 2
    written, kept = run(graph, np.array([1.0, 2.0], np.float32))
    np.testing.assert_array_equal(written, [9, 2])
    np.testing.assert_array_equal(kept, [1, 2])


def test_a_variable_is_read_once_and_reading_is_no_effect():
    variable = tf.Variable([2.0, 3.0])
    concrete = tf.function(lambda: (variable + 1.0, variable * 2.0), autograph=False).get_concrete_function()
    graph = graph_pb2.GraphDef()
    graph.library.function.add().CopyFrom(concrete.function_def)
    function = graph.library.function[0]
    assert len(function.control_ret) == 2
    subexpressions.merge(graph)
    assert counts(graph)["ReadVariableOp"] == 1
    assert not function.control_ret and not function.signature.control_output


def test_what_only_hands_on_is_left_out():
    def function(x):
        one, other = tf.identity_n([x + 1.0, x + 2.0])
        return tf.identity(tf.stop_gradient(other)), one

    graph = graph_of(function, VECTOR)
    subexpressions.merge(graph)
    assert not counts(graph).keys() & {"Identity", "IdentityN", "StopGradient"}
    assert [float(one[0]) for one in run(graph, np.array([1.0], np.float32))] == [3.0, 2.0]


def test_what_is_checked_first_is_still_checked():
    def function(x):
        with tf.control_dependencies([tf.debugging.Assert(tf.size(x) > 1, ["too short"])]):
            one = tf.identity(x)
        return one, tf.identity(x)

    graph = graph_of(function, VECTOR)
    subexpressions.merge(graph)
    assert counts(graph)["Assert"] == 1 and len(run(graph, np.array([1.0, 2.0], np.float32))) == 2
    with np.testing.assert_raises_regex(tf.errors.InvalidArgumentError, "too short"):
        run(graph, np.array([1.0], np.float32))
