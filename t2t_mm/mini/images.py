"""Draws the images of the mini corpora: a single object (mini ImageNet) or a scene of several objects (mini COCO).

Images are drawn at three times their final size and then reduced, which smooths the edges. All random choices come from
the generator that is passed in, so that the same state of the generator produces the same pixels.
"""

import itertools

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from t2t_mm.mini import world
from t2t_mm.mini.shapes import BODY, PATTERN, Pen, Pose, draw_shape

_SUPERSAMPLING = 3
_SIZE_RANGES = {"small": (0.2, 0.26), "large": (0.36, 0.44)}
_MAX_ARRANGEMENTS, _MAX_PLACEMENTS = 1000, 20  # attempts to arrange a whole scene, and to place one more thing in it
_GAP = 0.03  # minimum distance between the boxes of two things, and to the edge
_CLARITY = 1.3  # minimum ratio of the larger to the smaller of the horizontal and vertical distances of two things


def draw_object(kind: str, rng: np.random.Generator, size: int = 64) -> np.ndarray:
    """Draws an image of one object of a class in `world.OBJECTS`, uint8 `[size, size, 3]`.

    Raises:
      ValueError: the class does not exist.
    """
    canvas = _background(_pick(rng, world.PLACES), rng, size * _SUPERSAMPLING)
    _clutter(canvas, rng)
    width = rng.uniform(0.52, 0.85)
    room = max(0.0, 0.96 - width) / 2  # maximum distance of the object's centre from the middle of the image
    pose = Pose(
        0.5 + rng.uniform(-room, room), 0.5 + rng.uniform(-room, room), width, rng.uniform(-0.25, 0.25),
        rng.uniform(0.86, 1.0), rng.random() < 0.5,
    )  # fmt: skip
    _draw_thing(canvas, kind, _pick(rng, world.COLOURS), _pick(rng, world.PATTERNS), pose, rng, jitter=14)
    return _finish(canvas, rng, contrast=rng.uniform(0.8, 1.1))


def draw_scene(scene: world.Scene, rng: np.random.Generator, size: int = 64) -> np.ndarray:
    """Draws an image of a scene, uint8 `[size, size, 3]`. Two images of the same scene differ in tilt, shade and noise.

    Raises:
      ValueError: the scene contains a class, colour, pattern or place that is not in `world`.
    """
    canvas = _background(scene.place, rng, size * _SUPERSAMPLING)
    for thing in scene.things:
        angle, mirrored = rng.uniform(-0.1, 0.1), rng.random() < 0.5
        pose = Pose(thing.x, thing.y, thing.size, angle, 1.0, mirrored)
        _draw_thing(canvas, thing.kind, thing.colour, thing.pattern, pose, rng, jitter=8)
    return _finish(canvas, rng, contrast=rng.uniform(0.92, 1.05))


def random_scene(rng: np.random.Generator) -> world.Scene:
    """Draws a scene of two to four separate things of different kinds, with clear spatial relations between all pairs.

    At most two of them are large, because more would leave no room to be clearly beside, above or below each other.
    """
    place = _pick(rng, world.PLACES)
    count = int(rng.integers(2, 5))
    kinds = rng.permutation(world.OBJECTS)[:count]
    num_large = int(rng.integers(3))
    size_names = rng.permutation(["large"] * num_large + ["small"] * (count - num_large))
    for _ in range(_MAX_ARRANGEMENTS):
        things: list[world.Thing] = []
        for kind, size_name in zip(kinds.tolist(), size_names.tolist(), strict=True):
            tries = (_random_thing(kind, size_name, rng) for _ in range(_MAX_PLACEMENTS))
            things += itertools.islice((thing for thing in tries if _fits(thing, things)), 1)
        if len(things) == count:
            return world.Scene(place, tuple(things))
    raise RuntimeError(f"No arrangement of {count} things could be found in {_MAX_ARRANGEMENTS} attempts.")


def _random_thing(kind: str, size_name: str, rng: np.random.Generator) -> world.Thing:
    size = rng.uniform(*_SIZE_RANGES[size_name])
    margin = size / 2 + _GAP
    x, y = rng.uniform(margin, 1 - margin, 2)
    colour, pattern = _pick(rng, world.COLOURS), _pick(rng, world.PATTERNS)
    return world.Thing(kind, colour, size_name, pattern, float(x), float(y), size)


def _fits(thing: world.Thing, others: list[world.Thing]) -> bool:
    """Whether a thing is separate from all others, and clearly beside, above or below each of them."""
    for other in others:
        near, far = sorted((abs(thing.x - other.x), abs(thing.y - other.y)))
        if far < (thing.size + other.size) / 2 + _GAP or far < _CLARITY * near:
            return False
    return True


def _pick(rng: np.random.Generator, names) -> str:
    names = tuple(names)
    return names[rng.integers(len(names))]


# Things


def _draw_thing(canvas, kind, colour, pattern, pose, rng, jitter):
    if colour not in world.COLOURS:
        raise ValueError(f"There is no colour {colour!r}. Known colours: {', '.join(world.COLOURS)}.")
    shades = draw_shape(kind, canvas.width, pose)
    if pattern != "plain":
        body = shades.point([255 * (shade == BODY) for shade in range(256)])
        shades.paste(PATTERN, mask=ImageChops.multiply(body, _pattern(pattern, canvas.width, pose, rng)))
    mask = shades.point([0] + [255] * 255)
    base = np.clip(np.array(world.COLOURS[colour]) + rng.uniform(-jitter, jitter, 3), 0, 255)
    shades.putpalette(_shade_colours(base).astype(np.uint8).tobytes())
    canvas.paste(shades.convert("RGB"), mask=mask)


def _shade_colours(base: np.ndarray) -> np.ndarray:  # [3] -> [7, 3], one colour per shade of `shapes`
    def tint(share):
        return base + share * (255 - base)

    brightness = base.mean()
    if brightness < 60:  # black has no darker shades, so all of its shades are lighter
        rows = (base, base, tint(0.12), tint(0.2), tint(0.4), tint(0.75), tint(0.65))
    elif brightness > 160:
        rows = (base, base, base * 0.8, base * 0.9, base * 0.28, tint(0.75), base * 0.5)
    else:
        rows = (base, base, base * 0.78, tint(0.25), base * 0.22, tint(0.8), tint(0.7))
    return np.stack(rows)


def _pattern(pattern: str, side: int, pose: Pose, rng: np.random.Generator) -> Image.Image:
    """Draws a pattern in the object's own coordinates, as a mask that is 255 where there is a stripe or a spot."""
    pen = Pen(side, pose)
    shift = rng.uniform(-8, 8)
    if pattern == "striped":
        lean = rng.uniform(-25, 25)
        for x in np.arange(-72, 73, 20) + shift:
            pen.line(255, 9, x - lean, -55, x + lean, 55)
    elif pattern == "spotted":
        for row, y in enumerate(np.arange(-54, 55, 18) + shift):
            for x in np.arange(-54, 55, 21) + (row % 2) * 10.5 + shift:
                pen.ellipse(255, x, y, 6, 6, outline=False)
    else:
        raise ValueError(f"There is no pattern {pattern!r}. Known patterns: {', '.join(world.PATTERNS)}.")
    return pen.image


# Backgrounds, which are pale or dull, so that the colours of the things stand out


def _background(place: str, rng: np.random.Generator, side: int) -> Image.Image:
    if place not in _BACKGROUNDS:
        raise ValueError(f"There is no place {place!r}. Known places: {', '.join(_BACKGROUNDS)}.")
    canvas = Image.new("RGB", (side, side))
    _BACKGROUNDS[place](canvas, ImageDraw.Draw(canvas), rng, side, rng.uniform(0.45, 0.65) * side)
    return canvas


def _gradient(canvas, rng, top, bottom, first, last):
    """Fills the pixel rows from `top` to `bottom` with a gradient from the colour `first` to `last`."""
    top, bottom = round(top), round(bottom)
    shift = rng.uniform(-10, 10, 3)
    rows = np.linspace(np.array(first) + shift, np.array(last) + shift, bottom - top).clip(0, 255)
    strip = Image.fromarray(rows.astype(np.uint8)[:, None])
    canvas.paste(strip.resize((canvas.width, bottom - top), Image.Resampling.NEAREST), (0, top))


def _specks(draw, rng, count, side, top, size, colour):
    """Scatters short marks over the rows below `top`."""
    xs, ys = rng.uniform(0, side, count).tolist(), rng.uniform(top, side, count).tolist()
    for x, y in zip(xs, ys, strict=True):
        draw.rectangle((x, y, x + size, y + size / 2), fill=colour)


def _garden(canvas, draw, rng, side, horizon):
    _gradient(canvas, rng, 0, horizon, (170, 205, 235), (215, 232, 240))
    _gradient(canvas, rng, horizon, side, (165, 205, 140), (125, 178, 105))
    pitch = side / 9
    draw.rectangle((0, horizon - 0.13 * side, side, horizon - 0.1 * side), fill=(222, 216, 200))
    for x in np.arange(rng.uniform(-pitch, 0), side, pitch):
        foot, tip, half = horizon + 0.03 * side, horizon - 0.22 * side, pitch / 4
        picket = (x - half, foot, x - half, tip + half, x, tip, x + half, tip + half, x + half, foot)
        draw.polygon(picket, fill=(228, 222, 208), outline=(185, 180, 165))
    _specks(draw, rng, 30, side, horizon, side / 50, (105, 158, 90))


def _street(canvas, draw, rng, side, horizon):
    _gradient(canvas, rng, 0, horizon, (205, 212, 222), (225, 225, 225))
    x = rng.uniform(-0.2, 0) * side
    while x < side:
        width, grey = rng.uniform(0.18, 0.3) * side, int(rng.uniform(150, 195))
        top = horizon - rng.uniform(0.25, 0.45) * side
        draw.rectangle((x, top, x + width, horizon), fill=(grey, grey - 6, grey - 14))
        for left in np.arange(x + 0.03 * side, x + width - 0.05 * side, 0.08 * side):
            for row in np.arange(top + 0.04 * side, horizon - 0.06 * side, 0.1 * side):
                draw.rectangle((left, row, left + 0.035 * side, row + 0.05 * side), fill=(205, 210, 205))
        x += width + 2
    _gradient(canvas, rng, horizon, side, (135, 135, 140), (112, 112, 118))
    draw.rectangle((0, horizon, side, horizon + 0.03 * side), fill=(190, 190, 188))
    middle = (horizon + side) / 2
    for x in np.arange(rng.uniform(-0.2, 0), 1, 0.24) * side:
        draw.rectangle((x, middle, x + 0.13 * side, middle + 0.03 * side), fill=(215, 215, 205))


def _kitchen(canvas, draw, rng, side, horizon):
    horizon += 0.12 * side
    _gradient(canvas, rng, 0, horizon, (232, 228, 212), (215, 212, 198))
    pitch = rng.uniform(0.13, 0.17) * side
    for position in np.arange(rng.uniform(0, pitch), side, pitch):
        draw.line((position, 0, position, horizon), fill=(180, 178, 168), width=2)
        draw.line((0, position, side, position), fill=(180, 178, 168), width=2)
    _gradient(canvas, rng, horizon, side, (165, 172, 182), (140, 148, 160))
    draw.rectangle((0, horizon, side, horizon + 0.06 * side), fill=(205, 185, 155))
    for x in np.arange(rng.uniform(0, 0.3), 1, 0.33) * side:
        draw.line((x, horizon + 0.06 * side, x, side), fill=(110, 118, 130), width=3)


def _beach(canvas, draw, rng, side, horizon):
    sea = horizon - rng.uniform(0.16, 0.24) * side
    _gradient(canvas, rng, 0, sea, (160, 208, 240), (220, 235, 242))
    x, y, radius = rng.uniform(0, side), rng.uniform(0, sea), 0.08 * side
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(250, 242, 205))
    _gradient(canvas, rng, sea, horizon, (85, 150, 185), (140, 195, 205))
    for y in np.linspace(sea + 4, horizon - 4, 4):
        left = rng.uniform(0, 0.7) * side
        draw.line((left, y, left + 0.3 * side, y), fill=(205, 228, 232), width=2)
    _gradient(canvas, rng, horizon, side, (235, 220, 178), (218, 198, 150))
    _specks(draw, rng, 40, side, horizon, side / 80, (190, 168, 122))


def _forest(canvas, draw, rng, side, horizon):
    horizon += 0.1 * side
    _gradient(canvas, rng, 0, horizon, (110, 142, 112), (150, 172, 138))
    for x in rng.uniform(0, side, 7):
        half, shade = rng.uniform(0.015, 0.045) * side, rng.uniform(-15, 15)
        trunk = tuple(int(value + shade) for value in (95, 85, 72))
        draw.rectangle((x - half, 0, x + half, horizon + 0.04 * side), fill=trunk)
    _gradient(canvas, rng, horizon, side, (118, 122, 84), (92, 98, 68))
    _specks(draw, rng, 40, side, horizon, side / 45, (140, 128, 88))


def _room(canvas, draw, rng, side, horizon):
    horizon += 0.08 * side
    _gradient(canvas, rng, 0, horizon, (222, 205, 208), (208, 190, 196))
    pitch = rng.uniform(0.1, 0.14) * side
    for x in np.arange(rng.uniform(0, pitch), side, pitch):
        draw.line((x, 0, x, horizon), fill=(232, 220, 222), width=round(pitch / 3))
    _gradient(canvas, rng, horizon, side, (192, 160, 125), (172, 138, 102))
    vanishing = rng.uniform(0.3, 0.7) * side
    for x in np.linspace(-1, 2, 13) * side:
        draw.line((vanishing + (x - vanishing) * 0.4, horizon, x, side), fill=(148, 116, 84), width=2)
    draw.rectangle((0, horizon - 0.05 * side, side, horizon), fill=(240, 236, 230))


_BACKGROUNDS = {
    "garden": _garden, "street": _street, "kitchen": _kitchen,
    "beach": _beach, "forest": _forest, "room": _room,
}  # fmt: skip


def _clutter(canvas: Image.Image, rng: np.random.Generator):
    """Draws dull marks that belong to no class: discs cut off by the edge, bars and short strokes."""
    draw, side = ImageDraw.Draw(canvas), canvas.width
    for _ in range(rng.integers(1, 6)):
        x, y = rng.uniform(0, side, 2)
        grey = rng.uniform(100, 215)
        colour = tuple(int(value) for value in grey + rng.uniform(-22, 22, 3))
        length, form = rng.uniform(0.05, 0.14) * side, rng.integers(3)
        if form == 0:
            x = -0.3 * length if x < side / 2 else side + 0.3 * length
            draw.ellipse((x - length, y - length, x + length, y + length), fill=colour)
        elif form == 1:
            draw.rectangle((x, y, x + length, y + length / 3), fill=colour)
        else:
            dx, dy = rng.uniform(-length, length, 2)
            draw.line((x, y, x + dx, y + dy), fill=colour, width=round(side / 48))


def _finish(canvas: Image.Image, rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Reduces an image to its final size, and adds uneven light and noise."""
    picture = np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32) * contrast
    size = picture.shape[0]
    light = Image.fromarray(rng.uniform(-14, 14, (4, 4)).astype(np.float32))
    picture += np.asarray(light.resize((size, size), Image.Resampling.BICUBIC))[..., None]
    picture += rng.uniform(1, 6) * rng.standard_normal(picture.shape, np.float32)
    return picture.round().clip(0, 255).astype(np.uint8)
