"""A client for TensorFlow Serving's gRPC interface."""

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from t2t_mm.serving.client import PredictError, is_it_serving

_MAX_MESSAGE = 64 * 2**20  # gRPC's default of 4 MiB is less than a minute of audio in some formats


class RpcClient:
    """Sends requests for one model to `address`, such as 127.0.0.1:8500. Close it when done."""

    def __init__(self, address: str, model_name: str, version: int | None = None, timeout_seconds: float = 60.0):
        options = [("grpc.max_send_message_length", _MAX_MESSAGE), ("grpc.max_receive_message_length", _MAX_MESSAGE)]
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model_name = model_name
        self._version = version
        self._timeout_seconds = timeout_seconds
        self._answered = False

    async def predict(self, signature_name: str, rows: list[dict[str, bytes]]) -> list[dict]:
        """Returns a dict of outputs for each row, which has the same inputs as the others, by name.

        Raises:
          PredictError: the server rejects the request or cannot be reached.
        """
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = signature_name
        if self._version is not None:
            request.model_spec.version.value = self._version
        for name in rows[0]:
            request.inputs[name].CopyFrom(tf.make_tensor_proto([row[name] for row in rows], tf.string, [len(rows)]))
        try:
            response = await self._stub.Predict(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        self._answered = True
        columns = {name: _plain(tf.make_ndarray(proto)) for name, proto in sorted(response.outputs.items())}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]

    def _error(self, error: grpc.aio.AioRpcError) -> PredictError:
        code = error.code()
        # A server that is loading or has a full queue sends this code, too, but over a connection.
        connected = self._channel.get_state() == grpc.ChannelConnectivity.READY
        if code == grpc.StatusCode.UNAVAILABLE and not self._answered and not connected:
            return PredictError("unreachable", f"{self._address}: {error.details()}. {is_it_serving('gRPC')}", unreachable=True)
        busy = code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        return PredictError(code.name, error.details() or code.name, busy=busy)

    async def close(self) -> None:
        await self._channel.close()


def _plain(array: np.ndarray) -> list:
    """Returns an array as lists of text and numbers, with the shortest decimals that represent the same float32."""
    if array.dtype == object:
        return np.vectorize(lambda value: value.decode("utf-8", "replace"), otypes=[object])(array).tolist()
    if array.dtype == np.float32:
        return np.vectorize(lambda value: float(str(np.float32(value))), otypes=[object])(array).tolist()
    return array.tolist()
