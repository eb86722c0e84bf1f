"""Processes requests, independently of REST or gRPC."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from grpc import StatusCode
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, model_pb2

from t2t_mm.serving import tensors
from t2t_mm.serving.batching import Batcher
from t2t_mm.serving.errors import ServingError, invalid
from t2t_mm.serving.servable import CLASSIFY_METHOD, Servable
from t2t_mm.serving.versions import Versions

_METADATA_FIELD = "signature_def"
_LEAST_RECEIVED_BYTES = 128 * 2**20
_BODIES_TOGETHER = 8


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of requests.

    Args:
      max_body_bytes: maximum size of a request; it also limits the number of elements that an input may declare.
      max_concurrent: maximum number of requests that are waiting or being answered; beyond it, requests are rejected. A
        request that is still being received does not count, so a client that sends nothing cannot block others.
      timeout_seconds: time limit for a request from its headers to its answer, and for receiving its headers.
      max_received_bytes: maximum total size of all REST bodies that are being received or answered; beyond it, requests are
        rejected. None: 128 MiB, or eight of the largest bodies if that is more. Messages of gRPC do not count, because the
        library hands them over only when they are complete.
    """

    max_body_bytes: int = 16 * 2**20
    max_concurrent: int = 64
    timeout_seconds: float = 30.0
    max_received_bytes: int | None = None

    @property
    def received_bytes(self) -> int:
        """The value of `max_received_bytes`, or its default."""
        if self.max_received_bytes is not None:
            return self.max_received_bytes
        return max(_LEAST_RECEIVED_BYTES, _BODIES_TOGETHER * self.max_body_bytes)


class Service:
    """Predict, Classify, GetModelMetadata and GetModelStatus for `versions`. It must be used from one event loop."""

    def __init__(self, versions: Versions, batcher: Batcher, limits: Limits):
        self.versions = versions
        self.limits = limits
        self._batcher = batcher
        self._concurrent = 0
        self._received = 0

    @contextlib.asynccontextmanager
    async def admitted(self, seconds: float | None = None, since: float | None = None) -> AsyncIterator[float]:
        """Counts a request, limits its time, and yields its deadline (a value of time.monotonic).

        Args:
          seconds: the client's own time limit, if any.
          since: the time at which the request began. Default: now.

        Raises:
          ServingError: RESOURCE_EXHAUSTED, there are too many requests; DEADLINE_EXCEEDED, it took too long.
        """
        if self._concurrent >= self.limits.max_concurrent:
            message = f"{self._concurrent} requests are being answered already; try again later."
            raise ServingError(StatusCode.RESOURCE_EXHAUSTED, message)
        limit = self.limits.timeout_seconds if seconds is None else min(seconds, self.limits.timeout_seconds)
        deadline = (time.monotonic() if since is None else since) + limit
        self._concurrent += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                yield deadline
        except TimeoutError as error:
            raise ServingError(StatusCode.DEADLINE_EXCEEDED, f"No answer within {limit:.3g} s.") from error
        finally:
            self._concurrent -= 1

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Callable[[int], None]]:
        """Yields a function to call with the size of each received part of a body. The sizes are subtracted at the end.

        The function raises a ServingError (RESOURCE_EXHAUSTED) if the bodies of all REST requests together are too large.
        """
        mine = 0

        def count(size: int) -> None:
            nonlocal mine
            if self._received + size > self.limits.received_bytes:
                raise ServingError(StatusCode.RESOURCE_EXHAUSTED, "The bodies under way are too large; try again later.")
            mine += size
            self._received += size

        try:
            yield count
        finally:
            self._received -= mine

    async def predict(
        self, servable: Servable, signature_name: str, inputs: dict, output_filter: list[str], deadline: float
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of one signature.

        Args:
          servable: the version, for which the caller has a lease.
          inputs: name -> array [batch, ...].
          output_filter: the requested outputs. Default: all outputs.
          deadline: the value that `admitted` yields.

        Raises:
          ServingError: there is no such signature or output, the inputs do not fit, or the graph fails.
        """
        signature = servable.signature(signature_name)
        tensors.check_inputs(signature, inputs)
        unknown = sorted(set(output_filter) - set(signature.outputs))
        if unknown:
            raise invalid(
                f"output tensor alias not found in signature: {unknown[0]} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}."
            )
        if len(set(output_filter)) != len(output_filter):
            raise invalid(f"duplicate output tensor alias in {', '.join(output_filter)}")
        # Always compute all outputs, because TensorFlow prepares the graph again for every new set of outputs.
        found = await self._batcher.run(servable, signature_name, inputs, tuple(sorted(signature.outputs)), deadline)
        return {name: found[name] for name in sorted(output_filter or found)}

    async def classify(
        self, servable: Servable, signature_name: str, request_input: Any, deadline: float
    ) -> classification_pb2.ClassificationResult:
        """Returns the classes of every example of a Classify request.

        Raises:
          ServingError: see `predict`; INVALID_ARGUMENT if the signature is not for Classify.
        """
        signature = servable.signature(signature_name, StatusCode.INVALID_ARGUMENT)
        if signature.method_name != CLASSIFY_METHOD:
            raise invalid(
                f"Expected classification signature method_name to be {CLASSIFY_METHOD}. Was: {signature.method_name}"
            )
        inputs = {"inputs": tensors.serialised_examples(request_input)}
        outputs = await self.predict(servable, signature_name, inputs, [], deadline)
        result = classification_pb2.ClassificationResult()
        for row in range(len(inputs["inputs"])):
            added = result.classifications.add()
            for column in range(next(iter(outputs.values())).shape[1]):
                found = added.classes.add()
                if "classes" in outputs:
                    found.label = outputs["classes"][row, column].decode("utf-8", "replace")
                if "scores" in outputs:
                    found.score = float(outputs["scores"][row, column])
        return result

    def metadata(self, spec: model_pb2.ModelSpec, fields: list[str]) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of the requested version.

        Args:
          spec: the requested model and version.
          fields: the requested fields; TensorFlow Serving only has "signature_def".

        Raises:
          ServingError: there is no field or an unknown one, or no such version.
        """
        if not fields:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        if unknown := [field for field in fields if field != _METADATA_FIELD]:
            raise invalid(f"Metadata field {unknown[0]} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self.versions.lease(spec) as servable:
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
            response.model_spec.CopyFrom(answered_by(self.versions.model_name, servable, ""))
        response.metadata[_METADATA_FIELD].Pack(signatures)
        return response


def answered_by(model_name: str, servable: Servable, signature_name: str) -> model_pb2.ModelSpec:
    """Returns the model_spec of a response, which names the model and version that answered."""
    spec = model_pb2.ModelSpec(name=model_name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec


def signature_or_default(spec: model_pb2.ModelSpec) -> str:
    return spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
