"""The 24 object shapes of the mini corpora, drawn as maps of shades.

A shape is drawn without colours: every pixel of a one-channel image holds a shade (NONE ... PALE), which the renderer
turns into a colour derived from that of the object. One drawing therefore serves all colours, the silhouette consists
of the pixels that are not NONE, and patterns are only applied to the BODY. Coordinates are hundredths of the object's
width, with x to the right and y down. They are relative to the centre of the object and between -50 and 50.
"""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

NONE, BODY, DARK, LIGHT, INK, PALE, PATTERN = range(7)


@dataclasses.dataclass(frozen=True)
class Pose:
    """The position, size and orientation of an object.

    Attributes:
      x: horizontal position of the centre, as a fraction of the image's width.
      y: vertical position of the centre, as a fraction of the image's width.
      width: width of the object, as a fraction of the image's width.
      angle: rotation in radians.
      stretch: factor by which the height is scaled, at most 1.
      mirrored: whether left and right are swapped.
    """

    x: float = 0.5
    y: float = 0.5
    width: float = 0.8
    angle: float = 0.0
    stretch: float = 1.0
    mirrored: bool = False


class Pen:
    """Draws on a one-channel image of `side` x `side` pixels, in the coordinates of an object with a given pose."""

    def __init__(self, side: int, pose: Pose):
        self.image = Image.new("L", (side, side))
        self._draw = ImageDraw.Draw(self.image)
        self._unit = pose.width * side / 100
        cos, sin = np.cos(pose.angle) * self._unit, np.sin(pose.angle) * self._unit
        flip = -1 if pose.mirrored else 1
        self._matrix = np.array([[flip * cos, flip * sin], [-sin * pose.stretch, cos * pose.stretch]])
        self._centre = np.array([pose.x * side, pose.y * side])

    def polygon(self, shade: int, *xy: float, outline: bool = True) -> None:
        """Fills a polygon."""
        self._fill(shade, np.reshape(xy, (-1, 2)), outline)

    def curve(self, shade: int, *xy: float, outline: bool = True) -> None:
        """Fills a smooth closed (Catmull-Rom) curve through the points."""
        p1 = np.reshape(xy, (-1, 2))
        p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
        t = np.linspace(0, 1, 5, endpoint=False)[:, None, None]
        points = p1 + t * (p2 - p0) / 2 + t**2 * (p0 - 2.5 * p1 + 2 * p2 - p3 / 2)
        points += t**3 * (1.5 * (p1 - p2) + (p3 - p0) / 2)
        self._fill(shade, points.transpose(1, 0, 2).reshape(-1, 2), outline)

    def ellipse(self, shade: int, x: float, y: float, rx: float, ry: float, outline: bool = True) -> None:
        """Fills an ellipse with the given centre and radii."""
        self._fill(shade, _arc(x, y, rx, ry, 0, 360), outline)

    def sector(self, shade: int, x: float, y: float, rx: float, ry: float, start: float, stop: float) -> None:
        """Fills the part of an ellipse that the chord from `start` to `stop` cuts off (degrees, clockwise)."""
        self._fill(shade, _arc(x, y, rx, ry, start, stop), True)

    def line(self, shade: int, width: float, *xy: float) -> None:
        """Draws a line through the points."""
        self._stroke(shade, width, np.reshape(xy, (-1, 2)))

    def arc(self, shade: int, width: float, x: float, y: float, rx: float, ry: float, start: float, stop: float) -> None:
        """Draws the outline of an ellipse from `start` to `stop` (degrees, clockwise)."""
        self._stroke(shade, width, _arc(x, y, rx, ry, start, stop))

    def _fill(self, shade: int, points: np.ndarray, outline: bool):
        placed = self._place(points)
        self._draw.polygon(placed, fill=shade)
        if outline:
            self._draw.line(placed + placed[:4], fill=INK, width=max(1, round(2.4 * self._unit)))

    def _stroke(self, shade: int, width: float, points: np.ndarray):
        pixels = max(1, round(width * self._unit))
        self._draw.line(self._place(points), fill=shade, width=pixels, joint="curve")

    def _place(self, points: np.ndarray) -> list[float]:
        return (points @ self._matrix + self._centre).ravel().tolist()


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:  # [points, 2]
    angles = np.radians(np.linspace(start, stop, 29))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def draw_shape(kind: str, side: int, pose: Pose) -> Image.Image:
    """Draws the shades of an object of a class in `world.OBJECTS`, as a one-channel image of `side` x `side` pixels.

    Raises:
      ValueError: the class does not exist.
    """
    if kind not in SHAPES:
        raise ValueError(f"There is no shape for {kind!r}. Known classes: {', '.join(SHAPES)}.")
    pen = Pen(side, pose)
    SHAPES[kind](pen)
    return pen.image


def _ball(pen):
    pen.ellipse(BODY, 0, 0, 47, 47)
    pen.line(INK, 3.5, -33, -33, 33, 33)
    pen.line(INK, 3.5, -33, 33, 33, -33)
    pen.arc(INK, 3.5, -60, 0, 38, 40, -52, 52)
    pen.arc(INK, 3.5, 60, 0, 38, 40, 128, 232)


def _box(pen):
    pen.polygon(BODY, -46, -18, 20, -18, 20, 46, -46, 46)
    pen.polygon(LIGHT, -46, -18, -20, -46, 46, -46, 20, -18)
    pen.polygon(DARK, 20, -18, 46, -46, 46, 18, 20, 46)
    pen.polygon(PALE, -20, -18, 6, -46, 14, -46, -10, -18, -10, 2, -20, 2)


def _cup(pen):
    pen.arc(INK, 14, 24, 2, 20, 22, -90, 90)
    pen.arc(BODY, 9, 24, 2, 20, 22, -90, 90)
    pen.polygon(BODY, -44, -36, 30, -36, 20, 40, -34, 40)
    pen.sector(BODY, -7, 38, 27, 8, 0, 180)
    pen.ellipse(DARK, -7, -36, 37, 10)


def _key(pen):
    pen.polygon(BODY, -14, -7, 48, -7, 48, 7, -14, 7)
    pen.polygon(BODY, 36, 5, 46, 5, 46, 28, 36, 28)
    pen.polygon(BODY, 20, 5, 29, 5, 29, 22, 20, 22)
    pen.ellipse(BODY, -26, 0, 23, 28)
    pen.ellipse(NONE, -28, 0, 9, 12)


def _star(pen):
    angles = np.radians(np.arange(10) * 36 - 90)
    radii = np.where(np.arange(10) % 2, 21, 50)
    pen.polygon(BODY, *np.stack([radii * np.cos(angles), 3 + radii * np.sin(angles)], axis=1).ravel())


def _house(pen):
    pen.polygon(DARK, 20, -42, 32, -42, 32, -10, 20, -10)
    pen.polygon(BODY, -38, -8, 38, -8, 38, 46, -38, 46)
    pen.polygon(DARK, -49, -6, 0, -48, 49, -6)
    pen.polygon(INK, 6, 12, 24, 12, 24, 46, 6, 46)
    pen.polygon(PALE, -28, 8, -8, 8, -8, 28, -28, 28)
    pen.line(INK, 3, -18, 8, -18, 28)
    pen.line(INK, 3, -28, 18, -8, 18)


def _tree(pen):
    pen.polygon(DARK, -7, 26, 7, 26, 7, 49, -7, 49)
    for top, bottom, half in ((0, 32, 40), (-24, 10, 32), (-49, -14, 22)):
        pen.polygon(BODY, 0, top, half, bottom, -half, bottom)


def _flower(pen):
    pen.line(INK, 6, 0, 0, 2, 49)
    pen.curve(DARK, 2, 42, 10, 26, 30, 22, 20, 38)
    for angle in np.radians(np.arange(6) * 60 + 30):
        pen.ellipse(BODY, 19 * np.cos(angle), -18 + 19 * np.sin(angle), 12.5, 12.5)
    pen.ellipse(PALE, 0, -18, 10, 10)


def _fish(pen):
    pen.polygon(DARK, 20, 0, 49, -26, 42, 0, 49, 26)
    pen.polygon(DARK, -14, -20, 4, -38, 18, -16)
    pen.curve(BODY, -49, 0, -26, -24, 2, -25, 28, -4, 28, 4, 2, 25, -26, 24)
    pen.arc(INK, 3, -36, 0, 18, 22, -55, 55)
    pen.polygon(DARK, -6, 6, 12, 0, 8, 16)
    pen.ellipse(PALE, -33, -7, 6, 6)
    pen.ellipse(INK, -34, -7, 2.5, 2.5)


def _bird(pen):
    pen.line(INK, 3.5, -4, 28, -4, 46, -14, 46)
    pen.line(INK, 3.5, 8, 28, 8, 46, -2, 46)
    pen.polygon(DARK, 20, 4, 49, -12, 46, 8, 24, 22)
    pen.polygon(INK, -36, -28, -50, -19, -34, -16)
    pen.curve(BODY, -38, -24, -24, -40, -8, -30, 2, -8, 30, 6, 22, 26, -4, 33, -26, 20, -30, -4)
    pen.curve(DARK, -14, 0, 6, -4, 34, 8, 10, 20, -8, 16)
    pen.ellipse(PALE, -25, -26, 4.5, 4.5)
    pen.ellipse(INK, -26, -26, 2, 2)


def _cat(pen):
    pen.arc(INK, 12, 20, 22, 22, 22, 90, -60)
    pen.arc(BODY, 7, 20, 22, 22, 22, 90, -57)
    pen.curve(BODY, -14, -8, 14, -8, 26, 30, 22, 47, -22, 47, -26, 30)
    pen.line(INK, 3, 0, 26, 0, 47)
    pen.polygon(BODY, -29, -20, -29, -49, -6, -34)
    pen.polygon(BODY, 29, -20, 29, -49, 6, -34)
    pen.ellipse(BODY, 0, -19, 29, 21)
    for side in (-1, 1):
        pen.ellipse(PALE, 11 * side, -22, 5.5, 6.5)
        pen.ellipse(INK, 11 * side, -22, 1.8, 5)
        pen.line(INK, 2, 8 * side, -10, 38 * side, -14)
        pen.line(INK, 2, 8 * side, -8, 37 * side, -4)
    pen.polygon(INK, -5, -13, 5, -13, 0, -7)


def _dog(pen):
    pen.line(INK, 11, 34, -2, 44, -26)
    pen.line(BODY, 6, 34, -2, 44, -25)
    for x in (-16, 22):
        pen.polygon(DARK, x, 14, x + 10, 14, x + 10, 42, x, 42)
    for x in (-24, 32):
        pen.polygon(BODY, x - 6, 10, x + 5, 10, x + 5, 47, x - 6, 47)
    pen.curve(BODY, -32, -8, 0, -8, 34, -8, 40, 8, 36, 24, 0, 20, -28, 24)
    pen.curve(BODY, -14, -36, -28, -44, -36, -30, -47, -25, -45, -12, -32, -8, -22, 4, -8, -2, -6, -22)
    pen.curve(DARK, -22, -40, -12, -42, -2, -24, -4, -6, -13, -8, -18, -24)
    pen.ellipse(INK, -44, -22, 5, 5)
    pen.ellipse(INK, -30, -29, 3, 3)


def _car(pen):
    pen.polygon(BODY, -32, -6, -19, -34, 20, -34, 34, -6)
    pen.polygon(PALE, -21, -10, -14, -27, -1, -27, -1, -10)
    pen.polygon(PALE, 5, -10, 5, -27, 16, -27, 24, -10)
    pen.polygon(BODY, -49, 24, -49, 2, -40, -7, 41, -7, 49, 2, 49, 24)
    pen.polygon(PALE, -49, 4, -42, 4, -42, 11, -49, 11)
    for x in (-26, 27):
        pen.ellipse(INK, x, 24, 11, 11)
        pen.ellipse(PALE, x, 24, 4.5, 4.5)


def _boat(pen):
    pen.line(INK, 5, -3, -49, -3, 24)
    pen.polygon(BODY, 2, -44, 38, 14, 2, 14)
    pen.polygon(LIGHT, -8, -34, -8, 14, -34, 14)
    pen.polygon(BODY, -49, 20, 49, 20, 34, 46, -34, 46)
    pen.polygon(DARK, -49, 20, 49, 20, 44, 28, -44, 28)


def _lamp(pen):
    pen.polygon(DARK, -5, -6, 5, -6, 5, 40, -5, 40)
    pen.line(INK, 2.5, 20, -6, 20, 18)
    pen.ellipse(INK, 20, 19, 4, 4)
    pen.sector(BODY, 0, 48, 26, 14, 180, 360)
    pen.polygon(BODY, -18, -48, 18, -48, 38, -4, -38, -4)
    pen.polygon(LIGHT, -38, -4, 38, -4, 35, -11, -35, -11)


def _chair(pen):
    for x in (-24, 20):
        pen.polygon(DARK, x, 10, x + 7, 10, x + 7, 38, x, 38)
    for x in (-34, 34):
        pen.polygon(BODY, x - 5, 14, x + 5, 14, x + 5, 49, x - 5, 49)
    for x in (-23, 0, 23):
        pen.polygon(BODY, x - 5, -44, x + 5, -44, x + 5, 4, x - 5, 4)
    pen.polygon(BODY, -31, -49, 31, -49, 31, -34, -31, -34)
    pen.polygon(BODY, -28, 2, 28, 2, 40, 18, -40, 18)


def _table(pen):
    for x in (-30, 22):
        pen.polygon(DARK, x, -6, x + 8, -6, x + 8, 26, x, 26)
    for x in (-44, 34):
        pen.polygon(BODY, x, 2, x + 10, 2, x + 10, 40, x, 40)
    pen.polygon(BODY, -34, -26, 34, -26, 49, -2, -49, -2)
    pen.polygon(DARK, -49, -2, 49, -2, 49, 6, -49, 6)


def _book(pen):
    pen.polygon(DARK, -36, -46, 36, -46, 36, 47, -36, 47)
    pen.polygon(PALE, -30, 33, 33, 33, 33, 44, -30, 44)
    pen.line(INK, 2, -30, 39, 33, 39)
    pen.polygon(BODY, -36, -47, 36, -47, 36, 34, -36, 34)
    pen.polygon(DARK, -36, -47, -22, -47, -22, 34, -36, 34)
    pen.polygon(PALE, -12, -34, 26, -34, 26, -12, -12, -12)
    for y in (-27, -19):
        pen.line(INK, 2.5, -6, y, 20, y)


def _clock(pen):
    for side in (-1, 1):
        pen.line(INK, 8, 18 * side, 34, 30 * side, 49)
        pen.ellipse(DARK, 25 * side, -33, 15, 13)
    pen.line(INK, 5, 0, -30, 0, -46)
    pen.ellipse(BODY, 0, 4, 41, 41)
    for angle in np.radians(np.arange(12) * 30):
        x, y = np.cos(angle), np.sin(angle)
        pen.line(PALE, 4, 30 * x, 4 + 30 * y, 37 * x, 4 + 37 * y)
    pen.line(INK, 5.5, 0, 4, 0, -22)
    pen.line(INK, 5.5, 0, 4, 17, 14)
    pen.ellipse(INK, 0, 4, 4, 4)


def _hat(pen):
    pen.ellipse(BODY, 0, 22, 49, 14)
    pen.polygon(BODY, -28, 22, -22, -34, 22, -34, 28, 22, outline=False)
    pen.line(INK, 2.4, -28, 20, -22, -34, 22, -34, 28, 20)
    pen.ellipse(LIGHT, 0, -34, 22, 6)
    pen.polygon(INK, -27, 5, 27, 5, 28, 20, -28, 20)
    pen.sector(BODY, 0, 20, 28, 6, 0, 180)


def _shoe(pen):
    pen.curve(BODY, -46, -28, -34, -24, -18, -30, -6, -12, 18, 0, 44, 10, 48, 24, 0, 28, -44, 26, -44, 0)
    pen.ellipse(DARK, -30, -27, 15, 6)
    pen.polygon(PALE, -48, 23, 48, 23, 49, 31, 44, 36, -44, 36, -48, 34)
    for x in (-12, -3, 6):
        pen.line(PALE, 4, x - 4, x * 0.62 + 2, x + 7, x * 0.62 - 6)
    pen.arc(INK, 3, 50, 26, 26, 22, 175, 260)


def _apple(pen):
    right = np.array([(0, -20), (18, -29), (40, -20), (44, 6), (30, 38), (12, 46), (0, 42)])
    pen.curve(BODY, *np.concatenate([right, right[-2:0:-1] * (-1, 1)]).ravel())
    pen.line(INK, 6, 0, -16, 2, -34, 8, -46)
    pen.curve(DARK, 6, -32, 18, -47, 38, -46, 28, -32)
    pen.curve(PALE, -30, -12, -22, -18, -26, 2, -32, 6, outline=False)


def _mushroom(pen):
    pen.curve(PALE, -10, 0, 10, 0, 11, 30, 16, 47, -16, 47, -11, 30)
    pen.ellipse(LIGHT, 0, 3, 48, 9)
    pen.curve(BODY, -48, 4, -40, -26, -16, -45, 16, -45, 40, -26, 48, 4, 24, -1, 0, -2, -24, -1)
    for x, y, radius in ((-26, -14, 5.5), (-3, -30, 6.5), (24, -18, 5.5)):
        pen.ellipse(PALE, x, y, radius, radius)


def _leaf(pen):
    pen.line(INK, 5, 0, 28, -6, 49)
    pen.curve(BODY, 0, -49, 20, -26, 31, 0, 22, 24, 0, 35, -22, 24, -31, 0, -20, -26)
    pen.line(INK, 4, 0, 34, 0, -44)
    for y in (-18, 0, 18):
        half = 18 if y < 0 else 22
        pen.line(INK, 3, -half, y - 10, 0, y + 4, half, y - 10)


SHAPES = {
    "ball": _ball, "box": _box, "cup": _cup, "key": _key, "star": _star, "house": _house, "tree": _tree,
    "flower": _flower, "fish": _fish, "bird": _bird, "cat": _cat, "dog": _dog, "car": _car, "boat": _boat,
    "lamp": _lamp, "chair": _chair, "table": _table, "book": _book, "clock": _clock, "hat": _hat,
    "shoe": _shoe, "apple": _apple, "mushroom": _mushroom, "leaf": _leaf,
}  # fmt: skip
