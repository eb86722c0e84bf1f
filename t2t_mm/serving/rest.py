"""The REST interface of TensorFlow Serving and the web page at the root, with aiohttp."""

import asyncio
import html
import importlib.resources
import inspect
import json
import logging as python_logging
import re
import time
from urllib.parse import unquote

from absl import logging
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from google.protobuf import json_format
from grpc import StatusCode
from tensorflow_serving.apis import get_model_metadata_pb2, input_pb2, model_pb2

from t2t_mm.serving import json_tensors
from t2t_mm.serving.errors import ServingError, invalid
from t2t_mm.serving.names import Names
from t2t_mm.serving.service import Service, signature_or_default

# As in model_servers/http_rest_api_util.cc, which ignores case, too.
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST_PATH = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE)
_GET_PATH = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE)
_MAX_VERSION = 2**63 - 1
# TensorFlow Serving also writes fields with default values. protobuf 5 renamed this option.
_WITH_DEFAULTS = {
    name: True
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in inspect.signature(json_format.MessageToDict).parameters
}


def application(service: Service, names: Names) -> web.Application:
    """Returns the HTTP application, for the server and for tests."""
    page = importlib.resources.files("t2t_mm.serving").joinpath("page.html").read_text("utf-8")
    page = page.replace("{{model_name}}", html.escape(service.versions.model_name, quote=True))

    async def root(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers={"Cache-Control": "no-store"})

    async def api(request: web.Request) -> web.Response:
        return _json(await _answer(service, request))

    limit = service.limits.max_body_bytes
    python_logging.getLogger("aiohttp.server").addFilter(_without_traceback)  # which does not add it twice
    app = web.Application(middlewares=[_errors_as_json(limit, names)], client_max_size=limit)
    app.router.add_get("/", root)
    app.router.add_route("*", "/{path:v1(?:/.*)?}", api)
    return app


def _without_traceback(record: python_logging.LogRecord) -> bool:
    """Shortens the record of a request that is not HTTP, which is an error of the client and not of the server."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        reason = " ".join(str(record.exc_info[1]).split())
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {reason}", (), None
        record.levelno, record.levelname = python_logging.WARNING, "WARNING"
    return True


def _errors_as_json(max_body_bytes: int, names: Names):
    @web.middleware
    async def answer(request: web.Request, handler) -> web.Response:
        try:
            names.check(request.headers.get("Host"), request.headers.get("Origin"))
            return await handler(request)
        except ServingError as error:
            return _error(error.http_status, error.message)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"The body is larger than {max_body_bytes} bytes.")
        except web.HTTPException as error:
            return _error(error.status, f"{error.reason}: {request.method} {request.path}")
        except web.RequestPayloadError as error:
            return _error(400, f"The body cannot be read: {error}")
        except Exception:  # a bug: only this request may fail
            logging.exception("%s %s", request.method, request.path)
            return _error(500, "Internal error; see the server's log.")

    return answer


def _error(status: int, message: str) -> web.Response:
    return _json(json.dumps({"error": message}), status)


def _json(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/json")


async def _answer(service: Service, request: web.Request) -> str:
    if request.method == "POST":
        if match := _POST_PATH.fullmatch(request.raw_path.partition("?")[0]):
            began = time.monotonic()
            with service.receiving() as count:
                body = [await _body(service, request, count)]
                async with service.admitted(since=began) as deadline:
                    return await _post(service, _model_spec(match), match["method"].lower(), body.pop(), deadline)
    elif request.method == "GET":
        if match := _GET_PATH.fullmatch(request.raw_path.partition("?")[0]):
            return _get(service, _model_spec(match), bool(match["metadata"]))
    raise invalid(f"Malformed request: {request.method} {request.path}")


async def _body(service: Service, request: web.Request, count) -> bytes:
    """Returns the whole body. The request only counts as active after this."""
    limits, body = service.limits, bytearray()
    if (request.content_length or 0) > limits.max_body_bytes:
        raise web.HTTPRequestEntityTooLarge(limits.max_body_bytes, request.content_length or 0)
    try:
        async with asyncio.timeout(limits.timeout_seconds):
            async for part in request.content.iter_any():
                count(len(part))
                body += part
                if len(body) > limits.max_body_bytes:
                    raise web.HTTPRequestEntityTooLarge(limits.max_body_bytes, len(body))
    except TimeoutError as error:
        message = f"The body has not come within {limits.timeout_seconds:.3g} s."
        raise ServingError(StatusCode.DEADLINE_EXCEEDED, message) from error
    return bytes(body)


def _model_spec(match: re.Match) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=_decoded(match["name"]))
    if match["version"] is not None:
        if int(match["version"][:20]) > _MAX_VERSION:
            raise invalid(f"Failed to convert version: {match['version'][:20]}... to numeric.")
        spec.version.value = int(match["version"])
    elif match["label"] is not None:
        spec.version_label = _decoded(match["label"])
    return spec


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise invalid(f"Failed to decode {text}: not UTF-8") from error


async def _post(service: Service, spec: model_pb2.ModelSpec, method: str, body: bytes, deadline: float) -> str:
    with service.versions.lease(spec) as servable:
        request = json_tensors.parse(body)
        spec.signature_name = json_tensors.signature_name(request)
        name = signature_or_default(spec)
        signature = servable.signature(name, StatusCode.INVALID_ARGUMENT)
        if method == "predict":
            inputs, row_form = json_tensors.predict_inputs(request, signature)
            del request, body  # to save memory, because the answer may take long
            outputs = await service.predict(servable, name, inputs, [], deadline)
            return json_tensors.predict_answer(outputs, row_form)
        if method == "regress":
            raise invalid(f"Expected a regression signature; {name} is for {signature.method_name}.")
        examples = input_pb2.Input()
        json_tensors.classify_input(request, examples)
        return json_tensors.classify_answer(await service.classify(servable, name, examples, deadline))


def _get(service: Service, spec: model_pb2.ModelSpec, metadata: bool) -> str:
    if not metadata:
        status = service.versions.status(spec)
        return json.dumps(json_format.MessageToDict(status, **_WITH_DEFAULTS), indent=1)
    response = service.metadata(spec, ["signature_def"])
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    written = {
        "model_spec": _with_names(response.model_spec),
        "metadata": {"signature_def": _with_names(signatures)},
    }
    return json.dumps(written, indent=1)


def _with_names(message) -> dict:
    return json_format.MessageToDict(message, preserving_proto_field_name=True, **_WITH_DEFAULTS)
