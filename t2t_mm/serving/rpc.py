"""The gRPC services of TensorFlow Serving: PredictionService, and the status part of ModelService."""

import contextlib
from typing import Any

import grpc
from absl import logging
from grpc import StatusCode
from tensorflow_serving.apis import (
    classification_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from t2t_mm.serving import tensors
from t2t_mm.serving.errors import ServingError, invalid
from t2t_mm.serving.service import Service, answered_by, signature_or_default


def add_services(server: grpc.aio.Server, service: Service) -> None:
    """Registers both services with a server that has not been started yet."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(service), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(service), server)


@contextlib.asynccontextmanager
async def _errors_as_status(context: grpc.aio.ServicerContext):
    try:
        yield
    except ServingError as error:
        await context.abort(error.code, error.message)
    except grpc.aio.AbortError:
        raise
    except Exception:  # a bug: only this request may fail
        logging.exception("gRPC request")
        await context.abort(StatusCode.INTERNAL, "Internal error; see the server's log.")


def _spec_of(request):
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify and GetModelMetadata. No export has signatures for the other methods."""

    def __init__(self, service: Service):
        self._service = service

    async def Predict(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with _errors_as_status(context), self._service.admitted(context.time_remaining()) as deadline:
            spec = _spec_of(request)
            with self._service.versions.lease(spec) as servable:
                name = signature_or_default(spec)
                limit = self._service.limits.max_body_bytes  # a valid message needs at least one byte per element
                inputs = {key: tensors.from_proto(key, value, limit) for key, value in request.inputs.items()}
                outputs = await self._service.predict(servable, name, inputs, list(request.output_filter), deadline)
                response = predict_pb2.PredictResponse(model_spec=answered_by(spec.name, servable, name))
            for key, array in outputs.items():
                response.outputs[key].CopyFrom(tensors.to_proto(array))
            return response

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with _errors_as_status(context), self._service.admitted(context.time_remaining()) as deadline:
            spec = _spec_of(request)
            with self._service.versions.lease(spec) as servable:
                name = signature_or_default(spec)
                result = await self._service.classify(servable, name, request.input, deadline)
                answered = answered_by(spec.name, servable, name)
            return classification_pb2.ClassificationResponse(model_spec=answered, result=result)

    async def GetModelMetadata(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with _errors_as_status(context):
            return self._service.metadata(_spec_of(request), list(request.metadata_field))

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        await context.abort(StatusCode.UNIMPLEMENTED, "No signature of an export is for Regress.")

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        await context.abort(StatusCode.UNIMPLEMENTED, "No signatures of an export are for MultiInference.")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus. The configuration of versions cannot change while the server is running."""

    def __init__(self, service: Service):
        self._service = service

    async def GetModelStatus(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with _errors_as_status(context):
            return self._service.versions.status(_spec_of(request))

    async def HandleReloadConfigRequest(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        await context.abort(StatusCode.UNIMPLEMENTED, "The configuration is fixed; restart with other flags.")
