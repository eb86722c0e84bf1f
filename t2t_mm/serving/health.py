"""The service grpc.health.v1, with which load balancers and orchestrators check whether a server is ready.

Its messages have one field each and are declared here, so that no other package is needed.
"""

import asyncio
import contextlib

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc import StatusCode

from t2t_mm.serving.versions import Versions

_NAME = "grpc.health.v1.Health"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
_LOOK_SECONDS = 0.2


def _messages():
    """Returns HealthCheckRequest and HealthCheckResponse, in the format of health.proto in github.com/grpc/grpc-proto."""
    file = descriptor_pb2.FileDescriptorProto(name="t2t_mm/health.proto", package="t2t_mm.health", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    for message, name, kind in (
        ("Request", "service", field.TYPE_STRING), ("Response", "status", field.TYPE_INT32)
    ):  # fmt: skip
        file.message_type.add(name=message).field.add(name=name, number=1, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t2t_mm.health.{name}")) for name in ("Request", "Response")
    ]


Request, Response = _messages()


def add_service(server: grpc.aio.Server, versions: Versions, draining: asyncio.Event) -> None:
    """Registers Check and Watch for the server (""), the model, and the services of TensorFlow Serving.

    Args:
      draining: is set when the server stops. Check and Watch then report NOT_SERVING, and Watch ends, so that the server does
        not wait for its clients.
    """
    known = {"", versions.model_name, "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"}

    def status(service: str) -> int:
        if service not in known:
            return SERVICE_UNKNOWN
        return SERVING if versions.serving and not draining.is_set() else NOT_SERVING

    async def check(request, context):
        found = status(request.service)
        if found == SERVICE_UNKNOWN:
            await context.abort(StatusCode.NOT_FOUND, f"No service {request.service!r}.")
        return Response(status=found)

    async def watch(request, context):
        last = None
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                if (found := status(request.service)) != last:
                    last = found
                    yield Response(status=found)
                if draining.is_set():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(draining.wait(), _LOOK_SECONDS)

    codec = {"request_deserializer": Request.FromString, "response_serializer": Response.SerializeToString}
    handlers = {
        "Check": grpc.unary_unary_rpc_method_handler(check, **codec),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, **codec),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_NAME, handlers)])
