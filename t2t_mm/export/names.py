"""Short names for what is inside functions: a server writes every call out, and joins the names on the way to each node.

They are a good part of a loaded graph's memory, and tell a client nothing when an error quotes them.
"""

import string

from tensorflow.core.framework import function_pb2, graph_pb2

_DIGITS = string.ascii_lowercase + string.digits


def shorten(graph: graph_pb2.GraphDef) -> None:
    """Renames the nodes of all functions, and drops what only tells where they came from."""
    for function in graph.library.function:
        _shorten(function)


def _shorten(function: function_pb2.FunctionDef) -> None:
    taken = {argument.name for argument in function.signature.input_arg}
    fresh = (name for name in map(_name, range(len(function.node_def) + len(taken))) if name not in taken)
    names = {node.name: next(fresh) for node in function.node_def}

    def renamed(reference: str) -> str:
        """Of "node:output:index", "^node", an argument's name."""
        mark, reference = ("^", reference[1:]) if reference.startswith("^") else ("", reference)
        name, colon, rest = reference.partition(":")
        return mark + names.get(name, name) + colon + rest

    for node in function.node_def:
        node.name = names[node.name]
        node.ClearField("experimental_debug_info")
        node.attr.pop("_class", None)  # where it was placed beside another
        node.attr.pop("_output_shapes", None)  # which follow from the graph; a server keeps them for every node
        node.input[:] = map(renamed, node.input)
    for key, reference in list(function.ret.items()):
        function.ret[key] = renamed(reference)
    for key, name in list(function.control_ret.items()):
        function.control_ret[key] = names[name]


def _name(number: int) -> str:
    """a, b, ..., z, ab, bb, ...: a letter first, as names must."""
    found = _DIGITS[number % 26]
    number //= 26
    while number:
        found += _DIGITS[number % len(_DIGITS)]
        number //= len(_DIGITS)
    return found
