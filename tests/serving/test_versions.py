"""Tests that versions can be added and removed, and that requests only use complete ones."""

import asyncio
import os
import shutil
import weakref

import numpy as np
import pytest
from grpc import StatusCode
from tensorflow_serving.apis import model_pb2

from t2t_mm.export import save
from t2t_mm.serving.errors import ServingError
from t2t_mm.serving.versions import State, Versions, _find


def spec(version=None, label=None, name="m"):
    found = model_pb2.ModelSpec(name=name)
    if version is not None:
        found.version.value = version
    if label is not None:
        found.version_label = label
    return found


def states(versions):
    return {entry.version: entry.state for entry in versions.status(spec()).model_version_status}


async def unloaded(versions):
    while State.UNLOADING in states(versions).values():
        await asyncio.sleep(0.01)


def answer(servable):
    inputs = {"inputs": np.array([b"a"], object)}
    return servable.run("wmt_en_de", inputs, ("outputs",), 5)["outputs"][0].decode()


def latest(versions):
    with versions.lease(spec()) as servable:
        return answer(servable)


def test_a_new_version_replaces_the_old_after_its_last_request(publish, tmp_path):
    async def main():
        publish(tmp_path, 1)
        (tmp_path / "notes").mkdir()
        versions = Versions(str(tmp_path), "m")
        await versions.start()
        with versions.lease(spec()) as old:
            graph = weakref.ref(old._session.graph)
            publish(tmp_path, 2)
            await versions.poll()
            assert latest(versions) == "v2: A"
            assert states(versions) == {1: State.UNLOADING, 2: State.AVAILABLE}
            await asyncio.sleep(0.1)
            assert answer(old) == "v1: A"  # still open
            with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
                versions.lease(spec(1)).__enter__()
        await unloaded(versions)
        assert states(versions) == {1: State.END, 2: State.AVAILABLE}
        assert graph() is None  # the memory is given back
        shutil.rmtree(tmp_path / "1")
        await versions.poll()
        assert states(versions) == {2: State.AVAILABLE}
        await versions.close()
        assert states(versions) == {2: State.END}

    asyncio.run(main())


def test_a_number_that_no_version_can_have_is_ignored(publish, tmp_path):
    """It would be the newest, but no answer could name it, because versions are integers of 64 bits."""
    (tmp_path / str(2**63)).mkdir()
    (tmp_path / ("9" * 40)).mkdir()
    (tmp_path / "٣").mkdir()
    with pytest.raises(ServingError, match="version"):
        Versions(str(tmp_path), "m").check()
    assert save._next_version(str(tmp_path)) == 1
    publish(tmp_path, 1)
    assert list(_find(str(tmp_path))) == [1] and save._next_version(str(tmp_path)) == 2
    os.rename(tmp_path / "1", tmp_path / str(2**63 - 1))
    assert list(_find(str(tmp_path))) == [2**63 - 1]


def damage_graph(path):
    (path / "saved_model.pb").write_bytes(b"\x08\x01 not a model")


def damage_variables(path):
    for name in os.listdir(path / "variables"):
        (path / "variables" / name).write_bytes(b"short")


def remove_graph(path):
    (path / "saved_model.pb").unlink()


def damage_warm_up(path):
    path = path / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("damage", [damage_graph, damage_variables, remove_graph, damage_warm_up])
def test_a_bad_version_is_reported_and_the_old_one_serves(publish, tmp_path, damage):
    async def main():
        publish(tmp_path, 1)
        versions = Versions(str(tmp_path), "m")
        await versions.start()
        publish(tmp_path, 9, like=2)
        damage(tmp_path / "9")
        for _ in range(2):
            await versions.poll()
            assert latest(versions) == "v1: A"
        bad, good = versions.status(spec()).model_version_status
        assert (bad.version, bad.state, good.state) == (9, State.END, State.AVAILABLE)
        assert bad.status.error_code == StatusCode.FAILED_PRECONDITION.value[0]
        assert str(tmp_path / "9") in bad.status.error_message
        # Mended, it is tried again.
        shutil.rmtree(tmp_path / "9")
        publish(tmp_path, 9, like=2)
        await versions.poll()
        assert latest(versions) == "v2: A"
        await versions.close()

    asyncio.run(main())


def test_a_warm_up_request_that_fails_fails_the_version(publish, tmp_path, write_warm_up):
    async def main():
        write_warm_up(publish(tmp_path, 1), ("wmt_en_de", ["fine"]), ("coco", ["not a picture"]))
        with pytest.raises(ServingError, match="record 2: .*a damaged or unsupported JPEG or PNG image"):
            await Versions(str(tmp_path), "m").start()
        write_warm_up(tmp_path / "1", ("absent", ["a"]))
        with pytest.raises(ServingError, match='record 1: Serving signature key "absent" not found; there are: attention'):
            await Versions(str(tmp_path), "m").start()

    asyncio.run(main())


def test_several_versions_and_labels(publish, tmp_path):
    async def main():
        for version in (1, 2, 10, 11):
            publish(tmp_path, version, like=1 if version == 1 else 2)
        versions = Versions(str(tmp_path), "m", count=2, labels={"stable": 1, "gone": 5})
        await versions.start()
        assert states(versions) == {11: State.AVAILABLE, 10: State.AVAILABLE, 1: State.AVAILABLE}
        with versions.lease(spec(label="stable")) as servable:
            assert servable.version == 1
        with versions.lease(spec()) as servable:
            assert servable.version == 11
        for wrong, code in (
            (spec(2), StatusCode.NOT_FOUND),
            (spec(label="gone"), StatusCode.NOT_FOUND),
            (spec(label="other"), StatusCode.INVALID_ARGUMENT),
            (spec(name="n"), StatusCode.NOT_FOUND),
        ):
            with pytest.raises(ServingError) as caught:
                versions.lease(wrong).__enter__()
            assert caught.value.code == code
        # A version taken away gives place to the one before it.
        shutil.rmtree(tmp_path / "11")
        await versions.poll()
        await unloaded(versions)
        assert states(versions) | {11: 0} == {11: 0, 10: State.AVAILABLE, 2: State.AVAILABLE, 1: State.AVAILABLE}
        # Nothing left: what is loaded serves on.
        for version in ("1", "2", "10"):
            shutil.rmtree(tmp_path / version)
        await versions.poll()
        assert latest(versions) == "v2: A"
        await versions.close()

    asyncio.run(main())


def test_nothing_to_serve_is_told_at_the_start(tmp_path):
    with pytest.raises(ServingError, match="No folder .*absent"):
        asyncio.run(Versions(str(tmp_path / "absent"), "m").start())
    (tmp_path / "1-aside").mkdir()
    with pytest.raises(ServingError, match="holds no version: a folder named by an integer"):
        asyncio.run(Versions(str(tmp_path), "m").start())
    (tmp_path / "run" / "export" / "3").mkdir(parents=True)
    with pytest.raises(ServingError, match=rf"run holds no version: .* Did you mean {tmp_path}/run/export\?$"):
        asyncio.run(Versions(str(tmp_path / "run"), "m").start())
    (tmp_path / "run" / "export" / "3" / "saved_model.pb").touch()
    message = rf"export/3/ is a version itself. Give the folder that contains it: {tmp_path}/run/export$"
    with pytest.raises(ServingError, match=message):
        asyncio.run(Versions(f"{tmp_path}/run/export/3/", "m").start())
    (tmp_path / "1").mkdir()
    with pytest.raises(ServingError, match=r"No version can be served: .*1 does not load"):
        asyncio.run(Versions(str(tmp_path), "m").start())
