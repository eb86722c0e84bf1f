"""The small world that every mini corpus talks about, shows or reads aloud.

One list of things, colours, sizes, patterns and places serves the grammar (words), the renderer (shapes and
textures) and the synthesizer (pronunciations), so that a word learned in one problem means the same in another.
"""

import dataclasses

# Object class -> made-up WordNet-style synset id. Each class is drawn by a shape, a texture, or both.
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
PATTERNS = ("plain", "striped", "spotted")  # "plain" is never said
PLACES = ("garden", "street", "kitchen", "beach", "forest", "room")
RELATIONS = ("left_of", "right_of", "above", "below")


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object of a scene; x, y: its centre, size: its width, all as shares of the picture's width."""

    kind: str
    colour: str
    size_name: str
    pattern: str
    x: float
    y: float
    size: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """Two to four things in one place (the place decides the background)."""

    place: str
    things: tuple[Thing, ...]

    def relation(self, first: Thing, second: Thing) -> str:
        """How `first` stands to `second`: the larger of the two distances decides."""
        dx, dy = second.x - first.x, second.y - first.y
        if abs(dx) >= abs(dy):
            return "left_of" if dx > 0 else "right_of"
        return "above" if dy > 0 else "below"
