"""Tests that the images of the mini corpora are reproducible, recognisable, and show their scenes correctly."""

import itertools

import numpy as np
import pytest
from PIL import Image

from t2t_mm.mini import images, world
from t2t_mm.mini.shapes import BODY, SHAPES, Pose, draw_shape


def generator(seed=0):
    return np.random.default_rng(seed)


def silhouette(kind, pose, side=96):
    return np.asarray(draw_shape(kind, side, pose)) > 0


def thing_pose(thing):
    return Pose(thing.x, thing.y, thing.size)


def nearest_colours(pixels):  # [n, 3] -> [n] indices into world.COLOURS
    palette = np.array(list(world.COLOURS.values()), np.float32)
    return ((pixels[:, None].astype(np.float32) - palette) ** 2).sum(-1).argmin(1)


def draw_flat(thing, side=120):
    """A thing on grey, without tilt, light and noise."""
    canvas = Image.new("RGB", (side, side), (128, 128, 128))
    pose = thing_pose(thing)
    images._draw_thing(canvas, thing.kind, thing.colour, thing.pattern, pose, generator(), jitter=0)
    return np.asarray(canvas)


def test_every_class_has_a_shape():
    assert tuple(SHAPES) == world.OBJECTS


@pytest.mark.parametrize("size", [32, 64])
def test_same_seed_same_pixels(size):
    first, again, other = (images.draw_object("cat", generator(seed), size) for seed in (3, 3, 4))
    assert first.shape == (size, size, 3) and first.dtype == np.uint8
    assert (first == again).all() and (first != other).any()
    scene = images.random_scene(generator(5))
    assert scene == images.random_scene(generator(5)) != images.random_scene(generator(6))
    first, again, other = (images.draw_scene(scene, generator(seed), size) for seed in (3, 3, 4))
    assert first.shape == (size, size, 3) and first.dtype == np.uint8
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("kind", world.OBJECTS)
def test_shape_fills_its_box_and_keeps_inside(kind):
    shape = silhouette(kind, Pose(width=0.5), side=200)  # the box: 50 to 150
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    assert min(rows[0], columns[0]) >= 48 and max(rows[-1], columns[-1]) <= 152
    assert max(np.ptp(rows), np.ptp(columns)) >= 85
    assert shape.mean() > 0.25 * 0.15


@pytest.mark.parametrize("kind", world.OBJECTS)
def test_object_differs_from_its_background(kind):
    for place, colour in (("garden", "green"), ("room", "white"), ("forest", "black")):
        thing = world.Thing(kind, colour, "large", "plain", 0.5, 0.5, 0.8)
        with_it = images.draw_scene(world.Scene(place, (thing,)), generator()).astype(int)
        without = images.draw_scene(world.Scene(place, ()), generator()).astype(int)
        mask = silhouette(kind, thing_pose(thing), 64)
        assert np.abs(with_it - without).mean(-1)[mask].mean() > 20, place


def test_silhouettes_or_inner_details_differ():
    shades = {kind: np.asarray(draw_shape(kind, 96, Pose())) for kind in SHAPES}
    for first, second in itertools.combinations(shades, 2):
        one, two = shades[first] > 0, shades[second] > 0
        overlap, union = (one & two).sum(), (one | two).sum()
        differing = (shades[first] != shades[second]).sum()
        assert overlap / union < 0.9 or differing > 0.25 * union, (first, second)


def test_pose_moves_scales_and_mirrors():
    whole = silhouette("key", Pose(width=0.8), 100)
    half = silhouette("key", Pose(width=0.4), 100)
    assert half.sum() == pytest.approx(whole.sum() / 4, rel=0.1)
    rows, columns = np.nonzero(silhouette("key", Pose(0.3, 0.7, 0.4), 100))
    assert (np.ptp(columns), np.ptp(rows)) == (np.ptp(np.nonzero(half)[1]), np.ptp(np.nonzero(half)[0]))
    assert columns.mean() == pytest.approx(np.nonzero(half)[1].mean() - 20, abs=0.5)
    assert rows.mean() == pytest.approx(np.nonzero(half)[0].mean() + 20, abs=0.5)
    mirrored = silhouette("key", Pose(width=0.8, mirrored=True), 100)
    assert (mirrored[:, ::-1] != whole).mean() < 0.04 < (mirrored != whole).mean()


def test_random_scenes_keep_things_inside_apart_and_clear():
    rng = generator()
    counts, large = [], []
    for _ in range(300):
        scene = images.random_scene(rng)
        counts.append(len(scene.things))
        assert len({thing.kind for thing in scene.things}) == len(scene.things)
        assert scene.place in world.PLACES
        for thing in scene.things:
            low, high = {"small": (0.2, 0.26), "large": (0.36, 0.44)}[thing.size_name]
            assert low <= thing.size <= high
            assert thing.size / 2 < min(thing.x, thing.y, 1 - thing.x, 1 - thing.y)
            assert thing.colour in world.COLOURS and thing.pattern in world.PATTERNS
            large.append(thing.size_name == "large")
        for first, second in itertools.combinations(scene.things, 2):
            dx, dy = abs(first.x - second.x), abs(first.y - second.y)
            assert max(dx, dy) > (first.size + second.size) / 2
            assert max(dx, dy) > 1.25 * min(dx, dy)
    assert set(counts) == {2, 3, 4}
    assert 0.25 < np.mean(large) < 0.5


def test_drawn_things_do_not_overlap_or_leave_the_picture():
    rng = generator(1)
    for scene in (images.random_scene(rng) for _ in range(40)):
        for angle in (-0.1, 0.1):  # the largest tilt in a scene
            masks = [silhouette(thing.kind, Pose(thing.x, thing.y, thing.size, angle)) for thing in scene.things]
            assert np.sum(masks, axis=0).max() == 1
            assert not any(mask[[0, -1]].any() or mask[:, [0, -1]].any() for mask in masks)


@pytest.mark.parametrize("colour", world.COLOURS)
def test_plain_things_have_their_colour(colour):
    for kind in world.OBJECTS:
        thing = world.Thing(kind, colour, "large", "plain", 0.5, 0.5, 0.8)
        mask = silhouette(kind, thing_pose(thing), 120)
        names = nearest_colours(draw_flat(thing)[mask])
        assert np.mean(names == list(world.COLOURS).index(colour)) > 0.5, kind


@pytest.mark.parametrize("pattern", ["striped", "spotted"])
def test_pattern_falls_on_the_body_alone(pattern):
    for kind in ("ball", "house", "cat"):
        plain = world.Thing(kind, "red", "large", "plain", 0.5, 0.5, 0.8)
        patterned = world.Thing(kind, "red", "large", pattern, 0.5, 0.5, 0.8)
        pictures = [draw_flat(thing) for thing in (plain, patterned)]
        differing = (pictures[0] != pictures[1]).any(-1)
        body = np.asarray(draw_shape(kind, 120, thing_pose(plain))) == BODY
        assert not (differing & ~body).any()
        assert 0.15 < differing[body].mean() < 0.6


def test_places_differ():
    pictures = {}
    for place in world.PLACES:
        empty = world.Scene(place, ())
        pictures[place] = np.mean([images.draw_scene(empty, generator(seed)) for seed in range(8)], axis=0)
    for first, second in itertools.combinations(pictures, 2):
        assert np.abs(pictures[first] - pictures[second]).mean() > 12, (first, second)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no shape for 'cow'.*ball"):
        images.draw_object("cow", generator())
    for change, message in (
        ({"colour": "pink"}, "no colour 'pink'.*red"),
        ({"pattern": "checked"}, "no pattern 'checked'.*striped"),
    ):
        fields = {"kind": "cat", "colour": "red", "size_name": "large", "pattern": "plain", **change}
        scene = world.Scene("room", (world.Thing(x=0.5, y=0.5, size=0.4, **fields),))
        with pytest.raises(ValueError, match=message):
            images.draw_scene(scene, generator())
    with pytest.raises(ValueError, match="no place 'moon'.*garden"):
        images.draw_scene(world.Scene("moon", ()), generator())
