"""Errors of requests, with their gRPC code and the corresponding HTTP status of TensorFlow Serving."""

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
    """The error answer to a request. The message is for the client."""

    def __init__(self, code: StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)


# The text that TensorFlow adds to the message of an assertion, such as the name of the node, which does not help a client.
_ASSERTION = re.compile(r"^assertion failed: \[(.*)\]$", re.DOTALL)
# The escapes of absl::CEscape, with which TensorFlow writes strings.
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2}|[ntr\"'\\])")
_NAMED_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}
_NODES = re.compile(r"(\s*\[\[[^\n]*\]\])+\s*(\d+ (root error|successful operation|derived error).*)?$", re.DOTALL)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """Returns the error of a run of the graph, without the Python stack trace of its construction and the names of nodes."""
    message = (error.message or type(error).__name__).split("\n\nOriginal stack trace")[0]
    message = re.sub(r"^(\d+ root error\(s\) found\.\s*|\(\d+\) [A-Z_ ]+: |Graph execution error:\s*)+", "", message)
    message = re.sub(r"\{\{function_node [^}]*\}\}\s*", "", message)
    message = _NODES.sub("", message.split("\n\t [[")[0])
    if match := _ASSERTION.match(message):
        message = _unescaped(match[1])
    return ServingError(_BY_NUMBER.get(error.error_code, StatusCode.UNKNOWN), message)


def _unescaped(text: str) -> str:
    """Returns the text of an assertion without the escapes that TensorFlow writes for quotes and non-ASCII characters."""
    # In bytes, because an escape stands for one of the bytes of a character, and other characters may be unescaped.
    return _ESCAPE.sub(_byte, text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _byte(escape: re.Match) -> bytes:
    found = escape[1]
    return bytes([int(found, 8)]) if found.isdigit() else _NAMED_ESCAPES.get(found, found)
