"""Writes the mini corpora in the layouts of the corpora that they stand for, so that the same readers load both."""

import dataclasses
import functools
import io
import json
import os
import time
from collections.abc import Sequence

import numpy as np
from absl import logging
from PIL import Image

from t2t_mm.common.files import whole_folder
from t2t_mm.corpora.corpus_files import MINI_RECORD
from t2t_mm.corpora.example import CorpusError
from t2t_mm.corpora.sphere import encode_sphere
from t2t_mm.corpora.treebank import clean, linearise, parse_tree
from t2t_mm.mini import grammar, images, speech, workers, world
from t2t_mm.mini.sentence import Sentence

_CHUNK = 64  # images or utterances per task of a worker process
# Each corpus has its own stream of random numbers, so that the size of one does not change the content of another.
_TEXT, _IMAGES, _SCENES, _SPEECH, _MORE = range(5)
_PTB_SECTIONS = {"train": range(2, 22), "dev": (22,), "test": (23,)}
_MORE_SECTIONS = (0, 1, 24)  # sections that the usual split leaves out
# The voices of train begin at 001, those of dev at 500 and those of test at 700 (_FIRST_SPEAKER). The reader of WSJ leaves out
# speaker 401, as the usual training set does.
_MOST_SPEAKERS = {"speakers": 400, "held_out_speakers": 200}
_MOST_UTTERANCES = 36**2 - 1  # of a voice: the reader takes ids of 8 characters, with two digits of base 36 for the number
COCO_SPLITS = {"train": "train2014", "dev": "val2014", "test": "test2014"}
_IMAGE_SPLITS = {"train": "train", "dev": "val", "test": "test"}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of the mini corpora. As in the paper, parse trees are scarce and translations plentiful.

    Numbers of examples are those of the training sets, except for the attributes that start with `held_out_`: these
    apply to the dev set and to the test set, each.

    Attributes:
      pairs: sentence pairs of each language pair.
      trees: parsed sentences.
      images: images of each class.
      scenes: images with captions, five captions each.
      utterances: sentences read aloud.
      speakers: voices that read them.
      more_trees: additional parsed sentences, in Treebank sections that the usual split leaves out.
      few: training examples of each pair of input and language that no problem of the paper has (`problems.zero_shot`).
      held_out_images: images of each class.
      image_size: height and width of an image, in pixels.
      max_words: maximum length of the sentences in pairs and trees, in words and punctuation marks.
      max_spoken_words: maximum length of the sentences read aloud, in words.

    Raises:
      CorpusError: there are too many voices, or too many sentences for each of them.
    """

    pairs: int = 20000
    trees: int = 1000
    images: int = 240
    scenes: int = 3000
    utterances: int = 4000
    speakers: int = 40
    more_trees: int = 4000
    few: int = 200
    held_out_pairs: int = 400
    held_out_trees: int = 200
    held_out_images: int = 20
    held_out_scenes: int = 200
    held_out_utterances: int = 200
    held_out_speakers: int = 8
    image_size: int = 64
    max_words: int = 20
    max_spoken_words: int = 8

    def __post_init__(self):
        for voices, most in _MOST_SPEAKERS.items():
            spoken, count = voices.replace("speakers", "utterances"), getattr(self, voices)
            if not 1 <= count <= most:
                raise CorpusError(
                    f"Sizes.{voices} is {count}; it must be from 1 to {most}, so that no voice occurs in two splits and the "
                    "reader of WSJ leaves none out."
                )
            if getattr(self, spoken) > count * _MOST_UTTERANCES:
                raise CorpusError(
                    f"Sizes.{spoken} is {getattr(self, spoken)}; {count} voices can read {count * _MOST_UTTERANCES}. "
                    f"Lower it, or raise Sizes.{voices} (up to {most})."
                )


def make_mini(root: str, seed: int = 0, sizes: Sizes = Sizes(), processes: int | None = None) -> None:
    """Writes all mini corpora to `root`, or does nothing if the same corpora are already there.

    They are written to a folder next to `root`, which is renamed once it is complete, so that `root` never contains
    incomplete corpora.

    Args:
      seed: the same seed and sizes always produce the same files.
      processes: number of worker processes. Default: one per core.

    Raises:
      CorpusError: `root` already contains other files or other mini corpora.
    """
    record = {"seed": seed, "sizes": dataclasses.asdict(sizes)}
    if _already_made(root, record):
        logging.info("%s: these mini corpora already exist.", root)
        return
    start = time.monotonic()
    with whole_folder(root) as part:
        with workers.pool(processes) as pool:
            _write_with(pool, part, seed, sizes)
        with open(os.path.join(part, MINI_RECORD), "w") as file:
            json.dump(record, file, indent=1)
    logging.info("%s: written in %.0f s", root, time.monotonic() - start)


def _write_with(pool, part: str, seed: int, sizes: Sizes) -> None:
    seen: set[str] = set()  # no English sentence occurs in two corpora or two splits
    rng = np.random.default_rng([seed, _TEXT])
    media = {
        read_aloud: _plan_speech(part, seed, rng, seen, sizes),
        _draw_objects: _plan_images(part, seed, sizes),
        _draw_scenes: _plan_scenes(part, seed, sizes),
    }
    futures = workers.submitted(pool, media, _CHUNK)
    _write_treebank(part, rng, seen, sizes)
    for language in ("de", "fr"):
        _write_pairs(part, "en", language, _held_out(sizes, "pairs"), rng, seen, sizes)
    # Later additions have their own random numbers, so that the other corpora did not change.
    rng = np.random.default_rng([seed, _MORE])
    _write_trees(part, _MORE_SECTIONS, sizes.more_trees, rng, seen, sizes)
    _write_pairs(part, "de", "fr", _held_out(sizes, "pairs") | {"train": sizes.few}, rng, seen, sizes)
    workers.finish(futures, "Images and speech")


def has_record(path: str, record: dict) -> bool:
    """Returns whether a JSON file contains `record`, which a damaged file does not."""
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file) == record
        except ValueError:
            return False


def _already_made(root: str, record: dict) -> bool:
    if not os.path.isdir(root) or not os.listdir(root):
        return False
    path = os.path.join(root, MINI_RECORD)
    if not os.path.isfile(path):
        raise CorpusError(f"{root}: this folder contains files other than mini corpora; choose another folder.")
    if not has_record(path, record):
        raise CorpusError(
            f"{root}: this folder contains mini corpora with another seed or other sizes (see {path}); choose "
            "another folder, or delete this one."
        )
    return True


def _write_text(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# Text

_LANGUAGES = {"en": "english", "de": "german", "fr": "french"}


def _held_out(sizes: Sizes, name: str) -> dict[str, int]:
    """Returns split -> number of `name`. Test and dev come first, so that they do not depend on the training size."""
    held_out = getattr(sizes, f"held_out_{name}")
    return {"test": held_out, "dev": held_out, "train": getattr(sizes, name)}


def _write_pairs(root: str, first: str, second: str, counts: dict, rng, seen: set[str], sizes: Sizes) -> None:
    """Writes two parallel files with one sentence per line, as WMT does."""
    full = functools.partial(grammar.sample, max_words=sizes.max_words)
    for split, count in counts.items():
        sentences = grammar.sentences(rng, count, seen, full)
        for language in (first, second):
            path = os.path.join(root, "wmt", f"{first}-{second}", f"{split}.{language}")
            _write_text(path, "".join(f"{getattr(s, _LANGUAGES[language])}\n" for s in sentences))


def _write_treebank(root: str, rng, seen: set[str], sizes: Sizes) -> None:
    """Writes the usual sections of the Penn Treebank: 02 to 21 for training, 22 for dev and 23 for test."""
    for split, count in _held_out(sizes, "trees").items():
        _write_trees(root, _PTB_SECTIONS[split], count, rng, seen, sizes)


def _write_trees(root: str, sections: Sequence[int], count: int, rng, seen: set[str], sizes: Sizes) -> None:
    """Distributes the trees over the sections, in files of 25 trees."""
    full = functools.partial(grammar.sample, max_words=sizes.max_words)
    trees = [grammar.to_mrg(s.tree) for s in grammar.sentences(rng, count, seen, full)]
    for section, share in zip(sections, np.array_split(np.arange(count), len(sections))):
        for number, first in enumerate(range(0, len(share), 25)):
            name = os.path.join(root, "ptb", "wsj", f"{section:02d}", f"wsj_{section:02d}{number:02d}.mrg")
            _write_text(name, "\n" + "".join(trees[i] for i in share[first : first + 25]))


# Images


def _plan_images(root: str, seed: int, sizes: Sizes) -> list:
    """Creates the folders of ILSVRC, one per class, and returns the tasks that draw the images."""
    tasks, number = [], 0
    for split, count in _held_out(sizes, "images").items():
        for kind, synset in world.SYNSETS.items():
            folder = os.path.join(root, "imagenet", _IMAGE_SPLITS[split], synset)
            os.makedirs(folder)
            for index in range(count):
                tasks.append((os.path.join(folder, f"{synset}_{index}.JPEG"), kind, (seed, _IMAGES, number), sizes))
                number += 1
    names = "".join(f"{synset} {kind}\n" for kind, synset in world.SYNSETS.items())
    _write_text(os.path.join(root, "imagenet", "synset_words.txt"), names)
    return tasks


def _draw_objects(tasks) -> None:
    for path, kind, seed, sizes in tasks:
        _write_jpeg(path, images.draw_object(kind, np.random.default_rng(seed), sizes.image_size))


def _rng_of(seed: int, image_id: int) -> np.random.Generator:
    return np.random.default_rng((seed, _SCENES, image_id))


def scene_of(seed: int, image_id: int) -> world.Scene:
    """Returns the scene of an image of the mini COCO."""
    return images.random_scene(_rng_of(seed, image_id))


def _plan_scenes(root: str, seed: int, sizes: Sizes) -> list:
    """Writes the annotations of COCO in three languages, and returns the tasks that draw the images.

    No caption occurs in more than one split.
    """
    tasks, image_id, annotation_id = [], 0, 0
    taken: set[str] = set()
    for split, count in _held_out(sizes, "scenes").items():
        name = COCO_SPLITS[split]
        os.makedirs(os.path.join(root, "coco", name))
        pictures: list[dict] = []
        annotations: dict[str, list[dict]] = {language: [] for language in _LANGUAGES}
        said: set[str] = set()
        while len(pictures) < count:
            image_id += 1
            rng = _rng_of(seed, image_id)
            scene = images.random_scene(rng)
            captions = grammar.captions(scene, rng)
            english = [caption.english for caption in captions]
            if not taken.isdisjoint(english):
                continue
            said.update(english)
            file_name = f"COCO_{name}_{image_id:012d}.jpg"
            size = sizes.image_size
            pictures.append({"id": image_id, "file_name": file_name, "height": size, "width": size})
            for caption in captions:
                annotation_id += 1
                for language, name_of in _LANGUAGES.items():
                    record = {"id": annotation_id, "image_id": image_id, "caption": getattr(caption, name_of)}
                    annotations[language].append(record)
            tasks.append((os.path.join(root, "coco", name, file_name), scene, int(rng.integers(2**32)), sizes))
        taken |= said
        for language, ours in annotations.items():
            few = sizes.few if split == "train" and language != "en" else len(ours)
            _write_captions(root, language, name, pictures, ours[:few])
    return tasks


def _write_captions(root: str, language: str, name: str, pictures: list[dict], annotations: list[dict]) -> None:
    """Writes the annotations of one split to `coco/`, or to `coco-LANGUAGE/`, which links to the same images."""
    captioned = {annotation["image_id"] for annotation in annotations}
    shown = [picture for picture in pictures if picture["id"] in captioned]
    content = {"info": {"description": "mini corpus"}, "images": shown, "annotations": annotations}
    folder = "coco" if language == "en" else f"coco-{language}"
    _write_text(os.path.join(root, folder, "annotations", f"captions_{name}.json"), json.dumps(content))
    if language != "en":
        os.symlink(os.path.join("..", "coco", name), os.path.join(root, folder, name))


def _draw_scenes(tasks) -> None:
    for path, scene, seed, sizes in tasks:
        _write_jpeg(path, images.draw_scene(scene, np.random.default_rng(seed), sizes.image_size))


def _write_jpeg(path: str, pixels: np.ndarray) -> None:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=92)
    with open(path, "wb") as file:
        file.write(data.getvalue())


# Speech

# Split -> (list file, disc, folder of the audio, folder of the transcripts), as in the WSJ corpora.
_WSJ = {
    "train": ("wsj0/doc/indices/train/tr_s_wv1.ndx", "11_1_1", "wsj0/si_tr_s", "wsj0/transcrp/dots/si_tr_s"),
    "dev": ("wsj1/doc/indices/h1_p0.ndx", "13_34_1", "wsj1/si_dt_20", "wsj1/trans/si_dt_20"),
    "test": ("wsj0/doc/indices/test/nvp/si_et_20.ndx", "11_14_1", "wsj0/si_et_20", "wsj0/transcrp/dots/si_et_20"),
}
_FIRST_SPEAKER = {"train": 1, "dev": 500, "test": 700}


def _plan_speech(root: str, seed: int, rng, seen: set[str], sizes: Sizes) -> list:
    """Writes the lists and transcripts of WSJ in the merged layout, and returns the tasks that synthesize the audio.

    No speaker occurs in more than one split.
    """
    short = functools.partial(grammar.short_sentence, max_words=sizes.max_spoken_words)
    root, tasks = os.path.join(root, "wsj"), []
    for split, count in _held_out(sizes, "utterances").items():
        list_file, disc, audio_folder, dot_folder = _WSJ[split]
        speakers = sizes.speakers if split == "train" else sizes.held_out_speakers
        entries, spoken = [], []
        said = grammar.sentences(rng, count, seen, short)
        for index, part in enumerate(np.array_split(np.arange(count), speakers)):
            sentences = [said[i] for i in part]
            speaker = f"{_FIRST_SPEAKER[split] + index:03d}"
            voice = speech.random_voice(np.random.default_rng((seed, _SPEECH, int(speaker))))
            os.makedirs(os.path.join(root, audio_folder, speaker), exist_ok=True)
            lines = []
            for number, sentence in enumerate(sentences, start=1):
                utterance = f"{speaker}c02{np.base_repr(number, 36).lower():0>2}"
                words = [word for word in sentence.words() if word.isalpha()]
                lines.append(f"{' '.join(words).upper()} ({utterance})\n")
                path = f"{audio_folder}/{speaker}/{utterance}.wv1"
                # The evaluation list of WSJ0 has no file extensions.
                entries.append(f"{disc}:{path.removesuffix('.wv1') if split == 'test' else path}\n")
                task_seed = (seed, _SPEECH, int(speaker), number)
                tasks.append((os.path.join(root, path), words, voice, task_seed))
                spoken.append((utterance, sentence))
            _write_text(os.path.join(root, dot_folder, speaker, f"{speaker}c0200.dot"), "".join(lines))
        _write_text(os.path.join(root, list_file), f";; {split}\n" + "".join(entries))
        if split == "train":  # a few examples, spread over all voices
            spoken = [spoken[i] for i in np.linspace(0, count - 1, min(sizes.few, count)).astype(int)]
        _write_spoken(root, split, spoken)
    return tasks


def _linearised(mrg: str) -> str:
    tree = clean(parse_tree(mrg))
    assert tree is not None, f"no word is left of {mrg}"
    return " ".join(linearise(tree))


def _write_spoken(root: str, split: str, spoken: Sequence[tuple[str, Sentence]]) -> None:
    """Writes tables of utterances with their German and French translations and linearised trees.

    The real WSJ corpora do not have these; they are for the zero-shot problems.
    """
    forms = {
        "de": lambda sentence: sentence.german,
        "fr": lambda sentence: sentence.french,
        "tree": lambda sentence: _linearised(grammar.to_mrg(sentence.tree)),
    }
    for name, form in forms.items():
        rows = "".join(f"{utterance}\t{form(sentence)}\n" for utterance, sentence in spoken)
        _write_text(os.path.join(root, f"{split}.{name}.tsv"), rows)


def read_aloud(tasks: Sequence[tuple]) -> None:
    """Writes recordings in the format of WSJ, one for each (path, words, voice, seed)."""
    for path, words, voice, seed in tasks:
        samples = speech.synthesize(words, voice, np.random.default_rng(seed))
        data = encode_sphere(np.round(samples * 32767).astype(np.int16), 16000)
        with open(path, "wb") as file:
            file.write(data)
