"""The versions of an export: finds them by polling, loads and warms them up, switches to them, and closes old ones."""

import asyncio
import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator

from absl import logging
from grpc import StatusCode
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from t2t_mm.export.version_names import version_of
from t2t_mm.serving.errors import ServingError, invalid
from t2t_mm.serving.servable import Servable, give_way
from t2t_mm.serving.threads import in_a_thread

State = get_model_status_pb2.ModelVersionStatus.State
_WARM_UP_SECONDS = 600.0  # time limit for each record
_CLOSE_POLL_SECONDS = 0.02


@dataclasses.dataclass
class _Entry:
    """The state of one version. `stamp` shows whether its folder has changed."""

    stamp: tuple
    state: int = State.START
    servable: Servable | None = None
    error: ServingError | None = None
    progress: str = ""  # of loading


class Versions:
    """The served versions of one model. It must be used from one event loop.

    If a version cannot be loaded or warmed up, `status` reports this, and the version is left out until its folder changes.
    The version before it stays in use.

    Args:
      export_dir: the folder that contains a folder for each version, whose name is an integer. Other names are ignored.
      model_name: the name in requests.
      count: number of newest versions to serve. A request without a version gets the newest one.
      labels: label -> version. These versions are served in addition.
    """

    def __init__(self, export_dir: str, model_name: str, count: int = 1, labels: dict[str, int] | None = None):
        self.export_dir = export_dir
        self.model_name = model_name
        self._count = count
        self._labels = labels or {}
        self._entries: dict[int, _Entry] = {}
        self._closing: set[asyncio.Task] = set()
        self._stopping = threading.Event()

    def check(self) -> None:
        """Checks that there is a version to load.

        Raises:
          ServingError: NOT_FOUND. The message describes what was expected and where.
        """
        folder = self.export_dir
        if not os.path.isdir(folder):
            raise ServingError(StatusCode.NOT_FOUND, f"No folder {folder} (looked from {os.getcwd()}).")
        if not _find(folder):
            message = f"{folder} holds no version: a folder named by an integer, as bin/export.py writes it."
            if os.path.isfile(os.path.join(folder, "saved_model.pb")):
                message = (
                    f"{folder} is a version itself. Give the folder that contains it: {os.path.dirname(folder.rstrip('/'))}"
                )
            elif inside := [entry.path for entry in os.scandir(folder) if entry.is_dir() and _find(entry.path)]:
                message += f" Did you mean {' or '.join(sorted(inside))}?"
            raise ServingError(StatusCode.NOT_FOUND, message)

    async def start(self) -> None:
        """Loads the existing versions.

        Raises:
          ServingError: nothing can be served. The message describes what was expected and where.
        """
        self.check()
        await self.poll()
        if not self._available():
            reasons = "; ".join(str(entry.error) for entry in self._entries.values())
            raise ServingError(StatusCode.FAILED_PRECONDITION, f"No version can be served: {reasons}")

    async def watch(self, seconds: float) -> None:
        """Polls forever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.poll()
            except OSError as error:
                message = "%s: %s; the loaded versions stay in use."
                logging.log_every_n_seconds(logging.WARNING, message, 60, self.export_dir, error.strerror)

    async def poll(self) -> None:
        """Loads new versions, and retires those that have been removed or are no longer among the newest."""
        found = _find(self.export_dir)
        if not found:
            if self._available():
                message = "%s no longer contains a version; the loaded versions stay in use."
                logging.log_every_n_seconds(logging.WARNING, message, 60, self.export_dir)
            return
        for version, entry in list(self._entries.items()):
            ended = entry.state == State.END
            if ended and (version not in found or (entry.error and found[version][1] != entry.stamp)):
                del self._entries[version]
        while pending := [version for version in self._wanted(found) if not self._is_available(version)]:
            path, stamp = found[pending[0]]
            await self._load(pending[0], path, stamp)
        wanted = self._wanted(found)
        for version in self._available():
            if version not in wanted:
                self._retire(version)

    @contextlib.contextmanager
    def lease(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Yields the requested version, which stays loaded until the lease ends.

        Raises:
          ServingError: NOT_FOUND, there is no such model or version; INVALID_ARGUMENT, the label is unknown.
        """
        version = self._resolve(spec)
        servable = self._entries[version].servable
        assert servable is not None  # every available version has one
        servable.leases += 1
        try:
            yield servable
        finally:
            servable.leases -= 1

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of the requested version, or of all versions, the newest first.

        Raises:
          ServingError: NOT_FOUND, there is no such model or version; INVALID_ARGUMENT, the label is unknown.
        """
        version = self._version_of(spec)
        if spec.name != self.model_name:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        if version is not None and version not in self._entries:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {version} of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, entry in sorted(self._entries.items(), reverse=True):
            if version in (None, number):
                added = response.model_version_status.add(version=number, state=entry.state)
                added.status.error_code = entry.error.code.value[0] if entry.error else 0
                added.status.error_message = entry.error.message if entry.error else ""
        return response

    @property
    def serving(self) -> bool:
        """Whether any version answers requests."""
        return bool(self._available())

    @property
    def loading(self) -> bool:
        """Whether a version is being loaded, in a thread that only ends with its work or the process."""
        return any(entry.state == State.LOADING for entry in self._entries.values())

    async def close(self) -> None:
        """Closes every version after its last request. A version that is being loaded ends with the process."""
        self._stopping.set()
        for version in self._available():
            self._retire(version)
        await asyncio.gather(*self._closing)

    def _available(self) -> list[int]:
        return [version for version in self._entries if self._is_available(version)]

    def _is_available(self, version: int) -> bool:
        return version in self._entries and self._entries[version].state == State.AVAILABLE

    def _wanted(self, found: dict) -> list[int]:
        """Returns the versions to serve, the newest first, without those known to fail."""
        good = sorted((v for v in found if not (v in self._entries and self._entries[v].error)), reverse=True)
        labelled = [version for version in good if version in self._labels.values()]
        return sorted({*good[: self._count], *labelled}, reverse=True)

    async def _load(self, version: int, path: str, stamp: tuple) -> None:
        entry = self._entries[version] = _Entry(stamp, State.LOADING)
        entry.progress = "its graph is being read"
        logging.info("Version %d of %s is being loaded from %s.", version, self.model_name, path)

        def report(count: int, name: str) -> bool:
            entry.progress = f"{count} signatures are warmed up"
            logging.info("Version %d of %s: %d signatures warmed up, next %s.", version, self.model_name, count, name)
            return not self._stopping.is_set()

        try:
            entry.servable, warmed = await in_a_thread(lambda: _load_and_warm_up(path, version, report), "load")
        except ServingError as error:
            entry.error, entry.state = error, State.END
            logging.error("Version %d is not served: %s", version, error)
            return
        entry.state = State.AVAILABLE
        logging.info("Version %d of %s is served; %d warm-up requests were run.", version, self.model_name, warmed)

    def _retire(self, version: int) -> None:
        entry = self._entries[version]
        entry.state = State.UNLOADING
        closing = asyncio.get_running_loop().create_task(self._close_when_idle(version, entry))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close_when_idle(self, version: int, entry: _Entry) -> None:
        servable = entry.servable
        assert servable is not None  # it was available
        while servable.leases:
            await asyncio.sleep(_CLOSE_POLL_SECONDS)
        await asyncio.to_thread(servable.close)
        entry.servable, entry.state = None, State.END
        logging.info("Version %d of %s is unloaded.", version, self.model_name)

    def _version_of(self, spec: model_pb2.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            if spec.version_label not in self._labels:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            return self._labels[spec.version_label]
        return spec.version.value if choice == "version" else None

    def _resolve(self, spec: model_pb2.ModelSpec) -> int:
        version = self._version_of(spec)
        available = self._available() if spec.name == self.model_name else []
        if version is None and available:
            return max(available)
        if version not in available:
            if spec.name == self.model_name and (waiting := self._being_loaded(version)):
                raise ServingError(StatusCode.UNAVAILABLE, waiting)
            asked = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return version

    def _being_loaded(self, version: int | None) -> str:
        """Returns the message for a request for a version that is being loaded, and "" for any other request.

        A request without a version (None) gets a message if any version is being loaded, or if none has been found yet.
        """
        for number, entry in self._entries.items():
            if entry.state == State.LOADING and version in (None, number):
                return f"Version {number} of {self.model_name} is being loaded: {entry.progress}. Try again soon."
        return "" if self._entries or version is not None else f"{self.model_name} is being loaded. Try again soon."


def _find(export_dir: str) -> dict[int, tuple[str, tuple]]:
    """Returns a dict of version -> (folder, stamp of its files) for the folders whose names are integers of 64 bits."""
    found: dict[int, tuple[str, tuple]] = {}
    with os.scandir(export_dir) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            version = version_of(entry.name)
            if version is not None and entry.is_dir():
                path = os.path.join(export_dir, entry.name)
                found.setdefault(version, (path, _stamp(path)))
    return found


def _stamp(path: str) -> tuple:
    """Returns a value that changes whenever a file below `path` changes."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it is being replaced; the next poll will find the complete file
                stat = os.stat(os.path.join(folder, name))
                found.append((folder, name, stat.st_size, stat.st_ctime_ns))
    return tuple(sorted(found))


def _load_and_warm_up(path: str, version: int, report: Callable[[int, str], bool]) -> tuple[Servable, int]:
    servable = Servable(path, version)
    try:
        give_way()  # not earlier, because reading the graph holds Python's lock, and requests would wait longer for it
        return servable, servable.warm_up(_WARM_UP_SECONDS, report)
    except ServingError:
        servable.close()
        raise
