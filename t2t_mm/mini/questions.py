"""Typed and spoken questions about the images of the mini COCO, with answers that are true of their scenes.

Neither the image nor the question alone determines the answer. The scenes are those from which the images were drawn. The
seed of the mini corpora and the number of an image determine its scene, so nothing needs to be stored in the other corpora.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterator

import numpy as np

from t2t_mm.common.files import whole_folder, write_json, write_whole
from t2t_mm.corpora.corpus_files import MINI_RECORD, SPLITS
from t2t_mm.corpora.example import CorpusError
from t2t_mm.mini import speech, workers, world
from t2t_mm.mini.corpora import COCO_SPLITS, has_record, read_aloud, scene_of

FOLDER, _RECORD = "questions", "questions.json"
_STREAM, _VOICES = 100, 101  # streams of random numbers that no other corpus uses
_WHERE = {"left_of": "to the left of", "right_of": "to the right of", "above": "above", "below": "below"}
_VOICES_OF = {"train": 40, "dev": 8, "test": 8}
_CHUNK = 32  # number of recordings in a task


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about an image and its one-word answer, both in lower case and without punctuation."""

    text: str
    answer: str


@dataclasses.dataclass(frozen=True)
class PerScene:
    """The numbers of questions about an image.

    Attributes:
      typed: maximum number of questions.
      spoken: maximum number of these questions that are read aloud.
    """

    typed: int = 6
    spoken: int = 1


def questions(scene: world.Scene, rng: np.random.Generator) -> list[Question]:
    """Returns the questions about a scene that have exactly one answer, in random order.

    They ask what is beside, above or below a thing, which colour a thing has, and which thing has a colour. A thing is
    identified by its kind, which is unique in a scene, and often also by its colour, size or pattern.
    """
    found = []
    for thing in scene.things:
        name = functools.partial(_name, thing, rng)
        found.append(Question(f"what colour is the {name(colour=False)}", thing.colour))
        if sum(other.colour == thing.colour for other in scene.things) == 1:
            found.append(Question(f"what is {thing.colour}", thing.kind))
        for relation, where in _WHERE.items():
            beside = [other for other in scene.things if other is not thing and scene.relation(other, thing) == relation]
            if len(beside) == 1:
                found.append(Question(f"what is {where} the {name()}", beside[0].kind))
    return [found[index] for index in rng.permutation(len(found))]


def _name(thing: world.Thing, rng: np.random.Generator, colour: bool = True) -> str:
    words = [thing.size_name] if rng.random() < 0.25 else []
    words += [thing.pattern] if thing.pattern != "plain" and rng.random() < 0.25 else []
    words += [thing.colour] if colour and rng.random() < 0.5 else []
    return " ".join([*words, thing.kind])


def make_questions(root: str, per_scene: PerScene = PerScene(), processes: int | None = None) -> None:
    """Writes `root`/questions to the mini corpora in `root`, or does nothing if the same questions already exist.

    `<split>.tsv` has the columns picture, question and answer; `<split>.spoken.tsv` has picture, recording, question and
    answer. The paths of images and recordings are relative to `root`. The folder is written atomically.

    Args:
      root: the folder of the mini corpora.
      per_scene: the numbers of questions.
      processes: number of worker processes. Default: one per core.

    Raises:
      CorpusError: `root` does not contain mini corpora, or contains other questions.
    """
    folder = os.path.join(root, FOLDER)
    try:
        with open(os.path.join(root, MINI_RECORD), encoding="utf-8") as file:
            seed = json.load(file)["seed"]
    except OSError as error:
        raise CorpusError(f"{root}: has no mini corpora; write them first with bin/make_mini.py --root={root}.") from error
    record = {"seed": seed, **dataclasses.asdict(per_scene)}
    if os.path.isdir(folder):
        if not has_record(os.path.join(folder, _RECORD), record):
            raise CorpusError(f"{folder}: contains other questions; delete the folder, or choose another root.")
        return
    with whole_folder(folder) as part:
        tasks = [task for split in SPLITS for task in _write(root, part, split, seed, per_scene)]
        with workers.pool(processes) as pool:
            workers.finish(workers.submitted(pool, {read_aloud: tasks}, _CHUNK), "Spoken questions")
        write_json(os.path.join(part, _RECORD), record, indent=1)


def _write(root: str, part: str, split: str, seed: int, per_scene: PerScene) -> Iterator[tuple]:
    """Writes the tables of a split, and yields (path, words, voice, seed) of each recording to make."""
    name = COCO_SPLITS[split]
    with open(os.path.join(root, "coco", "annotations", f"captions_{name}.json"), encoding="utf-8") as file:
        pictures = json.load(file)["images"]
    typed, spoken = ["picture\tquestion\tanswer"], ["picture\trecording\tquestion\tanswer"]
    os.makedirs(os.path.join(part, "recordings", split))
    for picture in pictures:
        number, path = picture["id"], f"coco/{name}/{picture['file_name']}"
        scene = scene_of(seed, number)
        asked = questions(scene, np.random.default_rng((seed, _STREAM, number)))[: per_scene.typed]
        typed += [f"{path}\t{one.text} ?\t{one.answer}" for one in asked]
        for place, one in enumerate(asked[: per_scene.spoken]):
            recording = f"{FOLDER}/recordings/{split}/{number}_{place}.wv1"
            spoken.append(f"{path}\t{recording}\t{one.text} ?\t{one.answer}")
            voice = speech.random_voice(np.random.default_rng((seed, _VOICES, SPLITS.index(split), number % _VOICES_OF[split])))
            inside = os.path.join(part, recording.removeprefix(f"{FOLDER}/"))
            yield inside, one.text.split(), voice, (seed, _STREAM, number, place)
    write_whole(os.path.join(part, f"{split}.tsv"), "\n".join(typed) + "\n")
    write_whole(os.path.join(part, f"{split}.spoken.tsv"), "\n".join(spoken) + "\n")
