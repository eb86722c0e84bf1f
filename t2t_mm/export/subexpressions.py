"""Eliminates common subexpressions and unused nodes in each function of a graph.

A server prepares every node for each signature that uses it. TensorFlow's own optimizer does the same elimination, but takes
longer at each start than everything else. Tracing writes every constant, and the sizes of the same tensor, once per layer.
"""

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2

# Operations that always return the same result, which nobody modifies. They include reading a variable, because the
# variables of an export do not change after loading.
_PURE = frozenset(
    """
Add AddV2 All Any ArgMax ArgMin AsString Cast ConcatV2 Const DecodeRaw EnsureShape Equal ExpandDims Fill FloorDiv
FloorMod Gather GatherV2 Greater GreaterEqual Identity IdentityN Less LessEqual LogicalAnd LogicalNot LogicalOr MatMul Max
Maximum Mean Min Minimum Mul Neg NotEqual OneHot Pack Prod Range Rank ReadVariableOp RealDiv Relu Reshape ReverseV2 Rsqrt
Select SelectV2 Shape ShapeN Size Slice Split SplitV Sqrt Square Squeeze StopGradient StridedSlice StringJoin StringLength Sub
Substr Sum Tile Transpose Unpack
""".split()
)
# Operations whose outputs are their inputs, which exist for gradients, names or control dependencies.
_SAME = ("Identity", "IdentityN", "StopGradient")


def merge(graph: graph_pb2.GraphDef) -> None:
    """Merges equal nodes in all functions, and removes nodes that no result depends on and that have no side effects."""
    for function in graph.library.function:
        _merge(function)
        _prune(function)


def _merge(function: function_pb2.FunctionDef) -> None:
    first: dict[bytes, str] = {}
    instead: dict[str, str] = {}
    same: dict[str, list[str]] = {}
    kept = []

    def renamed(reference: str) -> str:
        """Renames a reference of the form "node:output:index", "^node" or the name of an argument."""
        mark = "^" if reference.startswith("^") else ""
        name, colon, rest = reference.removeprefix("^").partition(":")
        if not mark and name in same:
            return same[name][int(rest.rpartition(":")[2])]
        return mark + instead.get(name, name) + colon + rest

    # In topological order, so that the inputs of a node have got their final names before it is compared.
    for node in _sorted(function):
        node.input[:] = map(renamed, node.input)
        # With a control input, an Identity also makes its users wait, and has to stay.
        if node.op in _SAME and not any(reference.startswith("^") for reference in node.input):
            same[node.name] = list(node.input)
        if node.op in _PURE:
            name = first.setdefault(_key(node), node.name)
            if name != node.name:
                instead[node.name] = name
                continue
        kept.append(node)
    for key, name in list(function.control_ret.items()):
        if all(name != node.name or node.op in _PURE for node in kept):  # tracing treats reads as side effects
            del function.control_ret[key]
            function.signature.control_output.remove(key)
    _replace(function, kept)
    for key, reference in list(function.ret.items()):
        function.ret[key] = renamed(reference)


def _sorted(function: function_pb2.FunctionDef) -> list[node_def_pb2.NodeDef]:
    """Returns the nodes in topological order."""
    nodes = {node.name: node for node in function.node_def}
    found: dict[str, node_def_pb2.NodeDef] = {}
    for start in function.node_def:
        waiting = [start]
        # Without recursion, whose depth would be that of the graph.
        while waiting:
            node = waiting[-1]
            before = [name for name in map(_source, node.input) if name in nodes and name not in found]
            if before:
                waiting += [nodes[name] for name in before]
                continue
            found[node.name] = waiting.pop()
    return list(found.values())


def _source(reference: str) -> str:
    return reference.removeprefix("^").partition(":")[0]


def _key(node: node_def_pb2.NodeDef) -> bytes:
    """Returns a key of all properties of a node except its name and debug information."""
    like = node_def_pb2.NodeDef(op=node.op, input=node.input, device=node.device)
    for name, value in node.attr.items():
        # Annotations, which do not change what the node computes.
        if not name.startswith("_"):
            like.attr[name].CopyFrom(value)
    return like.SerializeToString(deterministic=True)


def _prune(function: function_pb2.FunctionDef) -> None:
    nodes = {node.name: node for node in function.node_def}
    waiting = [_source(reference) for reference in (*function.ret.values(), *function.control_ret.values())]
    waiting += [node.name for node in function.node_def if node.op not in _PURE]  # they may have side effects
    needed = set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in needed:
            needed.add(name)
            waiting += map(_source, nodes[name].input)
    _replace(function, [node for node in function.node_def if node.name in needed])


def _replace(function: function_pb2.FunctionDef, nodes: list[node_def_pb2.NodeDef]) -> None:
    # Copies, because deleting the field would also empty the nodes that it contains.
    copies = function_pb2.FunctionDef(node_def=nodes)
    del function.node_def[:]
    function.node_def.extend(copies.node_def)
