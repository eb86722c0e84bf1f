"""Lets signatures share one part of the graph, so that an export loads faster and needs less memory.

A session prepares every function call of every signature separately. Therefore the signatures of a group are one call of a
function that takes the inputs of all members, where inputs that a request does not feed are empty by default. Signatures of
tf.function cannot have defaults, so the graph that servers load is changed after saving. The functions that
`tf.saved_model.load` uses remain unchanged.
"""

import dataclasses
from collections.abc import Callable

from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2


@dataclasses.dataclass(frozen=True)
class Member:
    """A signature of a group.

    Attributes:
      inputs, outputs: name in the signature -> name in the function of the group.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Group:
    """Signatures that share one function.

    Attributes:
      function: a tf.function with named inputs, saved as a signature.
      members: signature -> its inputs and outputs in the function.
    """

    function: Callable
    members: dict[str, Member]


def share(meta: meta_graph_pb2.MetaGraphDef, groups: dict[str, Group]) -> None:
    """Redirects the signatures of the members to the groups, which are no longer signatures, and removes unused nodes."""
    nodes = {node.name: node for node in meta.graph_def.node}
    for name, group in groups.items():
        whole = meta.signature_def[name]
        for key, member in group.members.items():
            signature = meta.signature_def[key]
            for given, known in member.inputs.items():
                # The names for clients stay the same; only the nodes behind them are others.
                signature.inputs[given].name = whole.inputs[known].name
            for given, known in member.outputs.items():
                signature.outputs[given].name = whole.outputs[known].name
        for found in whole.inputs.values():
            meta.graph_def.node.append(_empty_by_default(nodes[found.name.partition(":")[0]]))
        del meta.signature_def[name]
    _prune(meta)


def _empty_by_default(placeholder: node_def_pb2.NodeDef) -> node_def_pb2.NodeDef:
    """Turns a node into a PlaceholderWithDefault, and returns its default, in which every unknown dimension is 0."""
    dtype = placeholder.attr["dtype"].type
    default = node_def_pb2.NodeDef(name=f"{placeholder.name}_default", op="Const")
    default.attr["dtype"].type = default.attr["value"].tensor.dtype = dtype
    for dimension in placeholder.attr["shape"].shape.dim:
        default.attr["value"].tensor.tensor_shape.dim.add(size=max(dimension.size, 0))
    placeholder.op = "PlaceholderWithDefault"
    placeholder.input.append(default.name)
    return default


def _prune(meta: meta_graph_pb2.MetaGraphDef) -> None:
    """Keeps only the nodes that signatures, the saver and collections depend on."""
    nodes = {node.name: node for node in meta.graph_def.node}
    saver = meta.saver_def
    waiting = [saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name]
    for signature in meta.signature_def.values():
        waiting += [found.name for found in (*signature.inputs.values(), *signature.outputs.values())]
    # Among the collections are the operations that initialise the vocabulary when the graph is loaded.
    for collection in meta.collection_def.values():
        waiting += collection.node_list.value
    needed = set()
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in needed:
            needed.add(name)
            waiting += nodes[name].input
    kept = [node for node in meta.graph_def.node if node.name in needed]
    # Copies, because deleting the field below would also empty the nodes that it contains.
    graph = graph_pb2.GraphDef(node=kept)
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(graph.node)
