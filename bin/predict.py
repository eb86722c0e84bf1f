"""Asks a running server (bin/serve.py or TensorFlow Serving) and prints its answers as JSON lines.

    python bin/predict.py --problem=wmt_en_de --input="The cat sleeps."
    python bin/predict.py --problem=coco --input=photo.jpg --input=other.png --protocol=grpc
    python bin/predict.py --problem=wmt_en_de --input_file=sentences.txt --concurrency=8 > answers.jsonl
    ls sounds/*.wav | python bin/predict.py --problem=wsj_speech --input=-
    python bin/predict.py --problem=n_best --command=wsj_parsing --input="the dog sings ."

A line has the input and its outputs, or its error; the order is that of the inputs. Exits with 1 if any failed.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator

from absl import flags

from t2t_mm.corpora import plain_text
from t2t_mm.run import command
from t2t_mm.serving import client as clients

_PROBLEM = flags.DEFINE_string(
    "problem", None, f"Problem to answer, by the name of its signature; {command.PROBLEM_HELP}.", required=True
)
_COMMAND = flags.DEFINE_string(
    "command", None, "Command token or problem, for the signatures that take one: serving_default, n_best."
)
_INPUT = flags.DEFINE_multi_string("input", [], 'A sentence or a path; "-" reads one a line from standard input.')
_INPUT_FILE = flags.DEFINE_multi_string("input_file", [], "A file of sentences or of paths, one a line.")
_READ_AS = flags.DEFINE_enum(
    "read_as", "auto", ["auto", "text", "path"], "What an input is; auto: a path for pictures and speech, else text."
)
_PROTOCOL = flags.DEFINE_enum("protocol", "rest", ["rest", "grpc"], "How to ask.")
_SERVER = flags.DEFINE_string(
    "server", None, "host:port, or a URL for REST. Default: 127.0.0.1:8501, for gRPC 127.0.0.1:8500."
)
_MODEL_NAME = flags.DEFINE_string("model_name", "t2t_mm", "The model's name on the server.")
_VERSION = flags.DEFINE_integer("version", None, "Version to ask. Default: the newest.", lower_bound=0)
_CONCURRENCY = flags.DEFINE_integer("concurrency", 4, "Requests under way at once.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Inputs in one request.", lower_bound=1)
_TIMEOUT = flags.DEFINE_float("timeout_seconds", 60.0, "Time for one request.", lower_bound=0.001)
_PROGRESS = flags.DEFINE_boolean("progress", None, "Whether to count on standard error. Default: on a terminal.")

_MEDIA = ("coco", "imagenet", "wsj_speech")  # the paper's problems whose inputs are files


def items() -> Iterator[clients.Item]:
    """The inputs of all flags in order, each read when its turn comes."""
    problem = _COMMAND.value or _PROBLEM.value
    as_path = _READ_AS.value == "path" or (_READ_AS.value == "auto" and problem in _MEDIA)
    lines = itertools.chain.from_iterable(
        _lines(sys.stdin.buffer, "standard input") if value == "-" else [value] for value in _INPUT.value
    )
    for value in itertools.chain(lines, itertools.chain.from_iterable(map(_file_lines, _INPUT_FILE.value))):
        yield _read(value) if as_path else clients.Item(value, value.encode("utf-8"))


def _file_lines(path: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            yield from _lines(file, path)
    except OSError as error:
        raise SystemExit(f"{command.name()}: {path}: {error.strerror}") from error


def _lines(file, origin: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            line = plain_text.first_line(line, line.endswith(b"\n")) if number == 1 else line
            text = plain_text.decode_line(line.removesuffix(b"\n")).strip()
        except plain_text.TextError as error:
            raise SystemExit(f"{command.name()}: {origin}:{number}: {error}") from error
        if text:
            yield text


def _read(path: str) -> clients.Item:
    try:
        with open(path, "rb") as file:
            return clients.Item(path, file.read())
    except OSError as error:
        return clients.Item(path, error=error.strerror)


def connect():
    model = _MODEL_NAME.value, _VERSION.value, _TIMEOUT.value, _COMMAND.value
    if _PROTOCOL.value == "rest":
        server = _SERVER.value or "127.0.0.1:8501"
        url = server if "://" in server else f"http://{server}"
        return clients.RestClient(url, *model)
    command.load_tensorflow()  # which takes seconds, and REST does without
    from t2t_mm.serving.rpc_client import RpcClient

    return RpcClient(_SERVER.value or "127.0.0.1:8500", *model)


async def ask() -> tuple[int, int]:
    """Prints every answer; gives how many there were and how many failed."""
    client, count, failed, start = connect(), 0, 0, time.monotonic()
    progress = sys.stderr.isatty() if _PROGRESS.value is None else _PROGRESS.value
    try:
        async for answer in clients.answers(client, _PROBLEM.value, items(), _CONCURRENCY.value, _BATCH_SIZE.value):
            count += 1
            failed += bool(answer.error)
            found = {"code": answer.code, "error": answer.error} if answer.error else answer.outputs
            print(json.dumps({"input": answer.item.name, **found}, ensure_ascii=False), flush=True)
            if progress:
                rate = count / (time.monotonic() - start)
                print(f"\r{count} answered, {failed} failed, {rate:.1f}/s", end="", file=sys.stderr, flush=True)
    finally:
        if progress and count:
            print(file=sys.stderr)
        await client.close()
    return count, failed


def main(_):
    if not _INPUT.value and not _INPUT_FILE.value:
        raise SystemExit(f"{command.name()}: no input; give --input=..., --input=- or --input_file=...")
    try:
        count, failed = asyncio.run(ask())
    except clients.PredictError as error:
        raise SystemExit(f"{command.name()}: {error.message}") from error
    if not count:
        raise SystemExit(f"{command.name()}: the input holds no line.")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main)
