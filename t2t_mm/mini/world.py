"""The small world that all mini corpora describe, show or read aloud.

The grammar (words), the renderer (shapes and textures) and the synthesizer (pronunciations) share one list of things,
colours, sizes, patterns and places, so that a word learned in one problem has the same meaning in all others.
"""

import dataclasses

# Object classes; SYNSETS gives each an invented identifier in the style of WordNet.
OBJECTS = (
    "ball", "box", "cup", "key", "star", "house", "tree", "flower", "fish", "bird", "cat", "dog",
    "car", "boat", "lamp", "chair", "table", "book", "clock", "hat", "shoe", "apple", "mushroom", "leaf",
)  # fmt: skip
SYNSETS = {name: f"n{90000000 + 137 * index:08d}" for index, name in enumerate(sorted(OBJECTS))}

COLOURS = {
    "red": (205, 40, 45), "green": (45, 150, 60), "blue": (45, 80, 200), "yellow": (235, 205, 50),
    "white": (240, 240, 240), "black": (30, 30, 30), "brown": (130, 80, 40), "purple": (130, 60, 160),
}  # fmt: skip
SIZES = ("small", "large")
PATTERNS = ("plain", "striped", "spotted")  # captions never mention "plain"
PLACES = ("garden", "street", "kitchen", "beach", "forest", "room")
RELATIONS = ("left_of", "right_of", "above", "below")


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object of a scene.

    Attributes:
      x: horizontal position of the centre, as a fraction of the image's width.
      y: vertical position of the centre, as a fraction of the image's width.
      size: width, as a fraction of the image's width.
    """

    kind: str
    colour: str
    size_name: str
    pattern: str
    x: float
    y: float
    size: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """Two to four things in one place, which determines the background."""

    place: str
    things: tuple[Thing, ...]

    def relation(self, first: Thing, second: Thing) -> str:
        """Returns the spatial relation of `first` to `second`, along the axis on which they are further apart."""
        dx, dy = second.x - first.x, second.y - first.y
        if abs(dx) >= abs(dy):
            return "left_of" if dx > 0 else "right_of"
        return "above" if dy > 0 else "below"
