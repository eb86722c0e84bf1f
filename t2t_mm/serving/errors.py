"""Errors of a request: one code for gRPC, and the HTTP status TensorFlow Serving answers in its place."""

import re

import grpc
import tensorflow as tf
from grpc import StatusCode

# As TensorFlow Serving's ToHTTPStatusCode (model_servers/http_server.cc).
HTTP_STATUS = {
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A request that gets an error for an answer; the message is for the client."""

    def __init__(self, code: StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)


# What TensorFlow puts around the words of an assertion: the node's name after them, which tells a client nothing.
_ASSERTION = re.compile(r"^assertion failed: \[(.*)\]$", re.DOTALL)
_NODES = re.compile(r"(\s*\[\[[^\n]*\]\])+\s*(\d+ (root error|successful operation|derived error).*)?$", re.DOTALL)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """The error of a run of the graph, without the Python stack of whoever built the graph and the names of its nodes."""
    message = (error.message or type(error).__name__).split("\n\nOriginal stack trace")[0]
    message = re.sub(r"^(\d+ root error\(s\) found\.\s*|\(\d+\) [A-Z_ ]+: |Graph execution error:\s*)+", "", message)
    message = re.sub(r"\{\{function_node [^}]*\}\}\s*", "", message)
    message = _NODES.sub("", message.split("\n\t [[")[0])
    if match := _ASSERTION.match(message):
        message = _unescaped(match[1])
    return ServingError(_BY_NUMBER.get(error.error_code, StatusCode.UNKNOWN), message)


def _unescaped(text: str) -> str:
    """An assertion's text without the backslashes that TensorFlow writes for quotes and all that is not ASCII."""
    try:
        return text.encode("ascii").decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")
    except UnicodeError:
        return text
