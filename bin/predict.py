"""Sends requests to a running server (bin/serve.py or TensorFlow Serving) and prints the answers as JSON lines.

    python bin/predict.py --problem=wmt_en_de --input="The cat sleeps."
    python bin/predict.py --problem=coco --input=photo.jpg --input=other.png --protocol=grpc
    python bin/predict.py --problem=wmt_en_de --input_file=sentences.txt --concurrency=8 > answers.jsonl
    ls recordings/*.wav | python bin/predict.py --problem=wsj_speech --input=-
    python bin/predict.py --problem=n_best --command=wsj_parsing --input="the dog sings ."
    python bin/predict.py --problem=shop --input_names=image,language --input=cup.jpg --input="what colour is the cup ?"

If a problem has several inputs, --input_names lists their names. Give --input once for each, in the order of the names; a line
separates them by tabs.

Images and recordings in formats that an export does not read (GIF, FLAC, MP3, …) are converted before they are sent.

Each line contains the input and its outputs or error, in the order of the inputs. The exit code is 1 if any input failed.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from absl import flags

from t2t_mm.common import command, command_inputs
from t2t_mm.common.errors import RunError
from t2t_mm.corpora import pictures, sounds
from t2t_mm.corpora.example import MediaError
from t2t_mm.serving import client as clients
from t2t_mm.serving.convert import as_an_export_reads_it

_PROBLEM = flags.DEFINE_string(
    "problem", None, f"Problem, which is the name of a signature of the export; {command.PROBLEM_HELP}.", required=True
)
_COMMAND = flags.DEFINE_string(
    "command", None, "Command token or problem, for the signatures that take one: serving_default, n_best and attention."
)
_INPUT = flags.DEFINE_multi_string(
    "input", [], 'Sentence or path, or "-" for one per line from standard input; may be repeated.'
)
_INPUT_FILE = flags.DEFINE_multi_string("input_file", [], "File with one sentence or path per line; may be repeated.")
_INPUT_NAMES = flags.DEFINE_list(
    "input_names", ["inputs"],
    "Names of the inputs of the signature, which are those of their modalities if a problem has several: image,language.",
)  # fmt: skip
_READ_AS = flags.DEFINE_enum(
    "read_as", "auto", ["auto", "text", "path"],
    "Form of the inputs; auto: paths for image and speech problems, for inputs called image or audio and where a value is the "
    "path of an existing image or recording, otherwise text.",
)  # fmt: skip
_PROTOCOL = flags.DEFINE_enum("protocol", "rest", ["rest", "grpc"], "Protocol of the requests.")
_SERVER = flags.DEFINE_string(
    "server",
    None,
    "Address of the server, host:port, or a URL for REST. Default: 127.0.0.1:8501 for REST, 127.0.0.1:8500 for gRPC.",
)
_MODEL_NAME = flags.DEFINE_string("model_name", "t2t_mm", "Name of the model on the server.")
_VERSION = flags.DEFINE_integer("version", None, "Version of the model. Default: the newest version.", lower_bound=0)
_CONCURRENCY = flags.DEFINE_integer("concurrency", 4, "Maximum number of simultaneous requests.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Number of inputs in a request.", lower_bound=1)
_TIMEOUT = flags.DEFINE_float("timeout_seconds", 60.0, "Time limit of a request, in seconds.", lower_bound=0.001)
_PROGRESS = flags.DEFINE_boolean(
    "progress", None, "Whether to show progress on standard error. Default: only if it is a terminal."
)

_TAKE_A_COMMAND = ("serving_default", "n_best", "attention")  # signatures of exports of several problems
# Parts of the messages of TensorFlow Serving, and of bin/serve.py, about inputs that do not fit a signature.
_OTHER_INPUTS = ("input size does not match signature", "keys must be equal to: ")
_MEDIA = ("coco", "imagenet", "wsj_speech")  # the paper's problems whose inputs are files


def check_names() -> None:
    """Checks the names of the inputs.

    Raises:
      RunError: a name is missing or repeated.
    """
    names = _INPUT_NAMES.value
    if not names or not all(names) or len(set(names)) < len(names):
        raise RunError(
            f"--input_names={','.join(names)} must list different names, such as image,language or language,language_2; "
            "the metadata of the server lists those of each signature."
        )


def items() -> Iterator[clients.Item]:
    """Yields what is asked, in order. Blank lines are passed over, and each file is read only when it is needed."""
    for one in command_inputs.given(_INPUT.value, _INPUT_FILE.value, _INPUT_NAMES.value):
        if one.values:
            yield _item(one.values)


def _item(values: tuple[str, ...]) -> clients.Item:
    """Returns what is asked with `values`, one for each of --input_names, after reading those that are paths."""
    name: str | list[str] = list(values) if len(values) > 1 else values[0]
    inputs = {"command": _COMMAND.value.encode("utf-8")} if _COMMAND.value else {}
    for input_name, value in zip(_INPUT_NAMES.value, values, strict=True):
        try:
            path = _is_path(input_name, value)
            if not path and value in _INPUT.value and _READ_AS.value == "auto":
                command_inputs.warn_of_path(value)
            inputs[input_name] = _read(value) if path else value.encode("utf-8")
        except OSError as error:
            return clients.Item(name, error=f"{value}: {error.strerror}")
        except MediaError as error:
            return clients.Item(name, error=str(error))
    return clients.Item(name, inputs)


def _is_path(input_name: str, value: str) -> bool:
    if _READ_AS.value != "auto":
        return _READ_AS.value == "path"
    # The client does not know the modalities of one's own problems, but no sentence is the path of an existing image.
    if value.lower().endswith((*pictures.ENDINGS, *sounds.ENDINGS)) and os.path.isfile(value):
        return True
    return input_name.split("_")[0] in ("image", "audio") or (_COMMAND.value or _PROBLEM.value) in _MEDIA


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return as_an_export_reads_it(file.read(), path)


def connect():
    model = _MODEL_NAME.value, _VERSION.value, _TIMEOUT.value
    if _PROTOCOL.value == "rest":
        server = _SERVER.value or "127.0.0.1:8501"
        url = server if "://" in server else f"http://{server}"
        return clients.RestClient(url, *model)
    command.load_tensorflow()  # only here, because it takes seconds and REST does not need it
    from t2t_mm.serving.rpc_client import RpcClient

    return RpcClient(_SERVER.value or "127.0.0.1:8500", *model)


def hint(answer: clients.Answer) -> str | None:
    """Returns which flag may be the reason why a server rejects a request, because the server does not know our flags."""
    if answer.code == "unreadable":
        return None
    if _PROBLEM.value in _TAKE_A_COMMAND and not _COMMAND.value:
        return f"{_PROBLEM.value} of an export takes a command; give --command, such as the name of a problem."
    if answer.code in ("404", "NOT_FOUND"):
        version = "" if _VERSION.value is None else f", version {_VERSION.value},"
        return (
            f"The server has no model {_MODEL_NAME.value}{version} that answers; give one that it has loaded with --model_name "
            "and --version. Without --version, its newest version answers."
        )
    if any(sign in answer.error for sign in _OTHER_INPUTS):
        return (
            f"{_PROBLEM.value} has other inputs than {', '.join(_INPUT_NAMES.value)}; give their names with --input_names, and "
            "--command only to signatures that take one."
        )
    return None


async def ask() -> tuple[int, int]:
    """Prints every answer, and returns the number of answers and the number of failures."""
    client, count, failed, start = connect(), 0, 0, time.monotonic()
    progress = sys.stderr.isatty() if _PROGRESS.value is None else _PROGRESS.value
    try:
        async for answer in clients.answers(client, _PROBLEM.value, items(), _CONCURRENCY.value, _BATCH_SIZE.value):
            count += 1
            failed += bool(answer.error)
            if answer.error and failed == 1 and (advice := hint(answer)):
                print(f"{command.name()}: {advice}", file=sys.stderr)
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


def end(status: int) -> NoReturn:
    """Ends at once, because a thread may be waiting for standard input, which the interpreter cannot close meanwhile."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main(_):
    check_names()
    try:
        count, failed = asyncio.run(ask())
    except clients.PredictError as error:
        print(f"{command.name()}: {command.spelled(error.message)}", file=sys.stderr)
        end(1)
    except KeyboardInterrupt:
        end(130)  # as a shell reports it
    if not count:
        raise SystemExit(f"{command.name()}: The input is empty.")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    command.run(main)
