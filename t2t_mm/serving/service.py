"""What the server does for a request, whether it came by REST or by gRPC."""

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


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Args:
      max_body_bytes: of a request; also bounds the elements an input may declare.
      max_concurrent: requests waiting or answered at once; beyond, they are refused. One that is still being read does
        not count: a client that sends nothing keeps nobody out.
      timeout_seconds: for a request from its headers to its answer; and for its headers, after which HTTP hangs up.
      max_received_bytes: of all bodies being read or answered at once; beyond, requests are refused.
    """

    max_body_bytes: int = 16 * 2**20
    max_concurrent: int = 64
    timeout_seconds: float = 30.0
    max_received_bytes: int = 128 * 2**20


class Service:
    """Predict, Classify, GetModelMetadata and GetModelStatus over `versions`; used from one event loop."""

    def __init__(self, versions: Versions, batcher: Batcher, limits: Limits):
        self.versions = versions
        self.limits = limits
        self._batcher = batcher
        self._concurrent = 0
        self._received = 0

    @contextlib.asynccontextmanager
    async def admitted(self, seconds: float | None = None, since: float | None = None) -> AsyncIterator[float]:
        """Counts a request in, bounds its time, and gives its deadline (of time.monotonic).

        Args:
          seconds: the client's own limit, where it has one. since: when its time began, where not just now.

        Raises:
          ServingError: RESOURCE_EXHAUSTED, too many at once; DEADLINE_EXCEEDED, it took too long.
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
        """Gives a function to be called with the size of what has come of a body; all is forgotten at the end.

        Raises (the function):
          ServingError: RESOURCE_EXHAUSTED, the bodies of all requests together are too large.
        """
        mine = 0

        def count(size: int) -> None:
            nonlocal mine
            if self._received + size > self.limits.max_received_bytes:
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
        """The outputs of one signature.

        Args:
          servable: leased by the caller. inputs: name -> array [batch, ...].
          output_filter: outputs wanted; all where empty. deadline: as `admitted` gives it.

        Raises:
          ServingError: no such signature or output, inputs that do not fit, or the graph's own error.
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
        # Always all of them: TensorFlow sets the graph up anew for every set of outputs that it has not seen before.
        found = await self._batcher.run(servable, signature_name, inputs, tuple(sorted(signature.outputs)), deadline)
        return {name: found[name] for name in sorted(output_filter or found)}

    async def classify(
        self, servable: Servable, signature_name: str, request_input: Any, deadline: float
    ) -> classification_pb2.ClassificationResult:
        """The classes of every example of a Classify request.

        Raises:
          ServingError: as `predict`; INVALID_ARGUMENT where the signature is not one for Classify.
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
        """The signatures of the version asked for.

        Args:
          fields: TensorFlow Serving knows one, "signature_def".

        Raises:
          ServingError: no or an unknown field, no such version.
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
    """The model_spec of a response: who answered."""
    spec = model_pb2.ModelSpec(name=model_name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec


def signature_or_default(spec: model_pb2.ModelSpec) -> str:
    return spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
