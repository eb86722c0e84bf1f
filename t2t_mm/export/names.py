"""Shortens the names of nodes inside functions. A server inlines every call and concatenates the names along the way.

The names take a considerable part of the memory of a loaded graph, and do not help a client when an error quotes them.
"""

import string

from tensorflow.core.framework import function_pb2, graph_pb2

_DIGITS = string.ascii_lowercase + string.digits


def shorten(graph: graph_pb2.GraphDef) -> None:
    """Renames the nodes of all functions, and removes debug information."""
    for function in graph.library.function:
        _shorten(function)


def _shorten(function: function_pb2.FunctionDef) -> None:
    # Arguments keep their names, which callers of the function use.
    taken = {argument.name for argument in function.signature.input_arg}
    # As many names as there are nodes remain after leaving out those of the arguments.
    fresh = (name for name in map(_name, range(len(function.node_def) + len(taken))) if name not in taken)
    names = {node.name: next(fresh) for node in function.node_def}

    def renamed(reference: str) -> str:
        """Renames a reference of the form "node:output:index", "^node" or the name of an argument."""
        mark, reference = ("^", reference[1:]) if reference.startswith("^") else ("", reference)
        name, colon, rest = reference.partition(":")
        # A reference to an argument is left as it is.
        return mark + names.get(name, name) + colon + rest

    for node in function.node_def:
        node.name = names[node.name]
        node.ClearField("experimental_debug_info")
        node.attr.pop("_class", None)  # a colocation constraint
        node.attr.pop("_output_shapes", None)  # redundant, but a server would keep them for every node
        node.input[:] = map(renamed, node.input)
    for key, reference in list(function.ret.items()):
        function.ret[key] = renamed(reference)
    for key, name in list(function.control_ret.items()):
        function.control_ret[key] = names[name]


def _name(number: int) -> str:
    """Returns the name of a number: a, b, ..., z, ab, bb, ... Names must begin with a letter."""
    found = _DIGITS[number % 26]
    number //= 26
    while number:
        found += _DIGITS[number % len(_DIGITS)]
        number //= len(_DIGITS)
    return found
