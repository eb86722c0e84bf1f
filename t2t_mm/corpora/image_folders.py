"""Image classification in the layouts of ImageNet (ILSVRC 2012): class folders, a flat `val`, or the two tar files."""

import os
import re
from collections import Counter
from collections.abc import Iterator

from t2t_mm.corpora.corpus_files import MissingCorpus, check_split, missing_corpus, read_lines, walk, warn_of_count
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.pictures import ENDINGS
from t2t_mm.corpora.plain_text import not_text
from t2t_mm.corpora.tars import members, nested_members

_FOLDERS = {"train": "train", "dev": "val", "test": "test"}
_TARS = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
_LABELS = ("val_labels.txt", "ILSVRC2012_validation_synset_labels.txt", "imagenet_2012_validation_synset_labels.txt")
_WORDS = ("synset_words.txt", "LOC_synset_mapping.txt")
_SYNSET = re.compile(r"n\d{8}")
_FULL_RELEASE = {"train": 1281167, "val": 50000}
_CATALOGUE = "ILSVRC 2012 (image-net.org)"
_EXPECTED = {
    "train": f"class folders train/<synset>/*.JPEG or {_TARS['train']}",
    "val": f"class folders val/<synset>/*.JPEG, or a flat val/*.JPEG or {_TARS['val']} with a label list "
    f"({', '.join(_LABELS)}: line n is the synset of the nth image in the order of names)",
    "test": "class folders test/<synset>/*.JPEG (ImageNet's own test labels are not public, so evaluate on dev)",
}


class ImageFolders:
    """Images and the indices of their classes among the sorted synset ids of `train`.

    If there are no class folders, the tar files are read in place. The label list of a flat `val` has a synset or `file
    synset` in each line, and is in `val` or next to it.

    Args:
      root: the folder of all corpora.
      folder: the folder in `root` that contains `train/<synset>/*.JPEG` or the train tar, and likewise `val` and `test`.
      own: whether the images are the user's own instead of ImageNet's, which errors then do not mention.
    """

    def __init__(self, root: str, folder: str = "imagenet", own: bool = False):
        self.folder, self._own = os.path.join(root, folder), own

    def class_names(self) -> list[str]:
        """Returns readable names of the classes in the order of their indices.

        The name of a class is the first synonym of the synset in `synset_words.txt` or Kaggle's `LOC_synset_mapping.txt`,
        for instance "tench" for the line "n01440764 tench, Tinca tinca". Two synsets with the same name ("crane" is a bird
        and a machine) are distinguished by their ids. The name of a synset without a line is its id.

        Raises:
          CorpusError: see `synsets`.
        """
        synsets, words = self.synsets(), self._words()
        names = [words.get(synset, synset) for synset in synsets]
        counts = Counter(names)
        return [name if counts[name] == 1 else f"{name} ({synset})" for name, synset in zip(names, synsets)]

    def synsets(self) -> list[str]:
        """Returns the synset ids (or the names of custom class folders) in the order of their class indices.

        Raises:
          CorpusError: there is neither a `train` folder nor its tar file, or it has no classes.
        """
        folders, tar = _class_folders(os.path.join(self.folder, "train")), self._tar("train")
        if folders:
            return folders
        if tar is None:
            raise self._missing(os.path.join(self.folder, "train"), "train")
        names = sorted(synset for name, _, _ in members(tar, Report(tar)) if (synset := _inner_synset(name)))
        if not names:
            raise CorpusError(f"{tar}: contains no <synset>.tar, so it is not the training tar of ILSVRC 2012.")
        return names

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per image, with its path as the input and its class index as the target.

        The split "dev" is ImageNet's `val`.

        Raises:
          CorpusError: the split or its images are missing, it has a class that `train` does not have, or its label list
            does not fit.
          TooManyBadExamples: there are more classes without images, or unexpected members of a tar, than `report` allows.
        """
        check_split(split)
        name = _FOLDERS[split]
        classes = {synset: index for index, synset in enumerate(self.synsets())}
        examples = [
            Example(inputs=path, targets=_class_of(synset, classes, origin), origin=origin)
            for path, synset, origin in self._images(name, report)
        ]
        if not examples:
            raise CorpusError(f"{self.folder}: the classes of {name} contain no images.")
        if name in _FULL_RELEASE:
            warn_of_count(self.folder, f"images of {name}", len(examples), _FULL_RELEASE[name])
        return examples

    def _images(self, name: str, report: Report) -> Iterator[tuple[str, str, str]]:
        """Yields (path or tar member, synset, origin) of each image of `train`, `val` or `test`."""
        folder, tar = os.path.join(self.folder, name), self._tar(name)
        if _class_folders(folder):
            return _from_folders(folder, report)
        if name == "val" and os.path.isdir(folder) and (flat := _images_in(folder, report)):
            paths = [(path, path) for path in flat]
            return _labelled(paths, folder, self._labels(folder))
        if tar is None:
            raise self._missing(folder, name)
        return _from_train_tar(tar, report) if name == "train" else _labelled(
            _from_flat_tar(tar, report), tar, self._labels(folder)
        )  # fmt: skip

    def _missing(self, path: str, name: str) -> MissingCorpus:
        if self._own:
            return missing_corpus(path, f"a folder for each class with its images, {name}/<class>/*.jpg")
        return missing_corpus(path, _EXPECTED[name], _CATALOGUE, "imagenet")

    def _tar(self, name: str) -> str | None:
        path = os.path.join(self.folder, _TARS.get(name, "no tar"))
        return path if os.path.isfile(path) else None

    def _words(self) -> dict[str, str]:
        """Returns a dict of synset id -> first synonym, for the synsets that the corpus lists."""
        path = next((path for name in _WORDS if os.path.isfile(path := os.path.join(self.folder, name))), None)
        if path is None:
            return {}
        lines = [line.split(None, 1) for line in read_lines(path, Report(path)) if line]
        return {line[0]: name for line in lines if len(line) == 2 and (name := line[1].split(",")[0].strip())}

    def _labels(self, folder: str) -> list[str]:
        """Returns the lines of the label list."""
        for where in (self.folder, folder):
            for name in _LABELS:
                path = os.path.join(where, name)
                if os.path.isfile(path):
                    lines = read_lines(path, Report(path, max_bad=0))
                    return [line.strip() for line in lines if line and line.strip()]
        raise missing_corpus(
            os.path.join(self.folder, _LABELS[0]),
            f"the label list of a flat val ({' or '.join(_LABELS)})",
            _CATALOGUE,
            "imagenet",
        )


def _class_of(synset: str, classes: dict[str, int], origin: str) -> int:
    if synset not in classes:
        raise CorpusError(f"{origin}: class {synset} is not among the {len(classes)} classes of train.")
    return classes[synset]


def _class_folders(path: str) -> list[str]:
    if not os.path.isdir(path):
        return []
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _images_in(folder: str, report: Report) -> list[str]:
    """Returns the images in a folder and below it, by file extension. Reports the number of files of other extensions."""
    found: list[str] = []
    others: Counter[str] = Counter()
    for where, names in walk(folder):
        for name in names:
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                path = os.path.join(where, name)
                # Such as a name in Latin-1 from an old archive, which TensorFlow cannot take as a text.
                if not_text(path):
                    report.skip(ascii(path), "its name is not UTF-8; rename it")
                else:
                    found.append(path)
            elif not name.startswith(".") and name not in _LABELS:
                others[os.path.splitext(name)[1] or "no ending"] += 1
    for ending, count in sorted(others.items()):
        named = f"{count} files with {ending} are" if count > 1 else f"a file with {ending} is"
        report.skip(f"{folder} ({ending})", f"{named} not named like an image ({', '.join(ENDINGS)})")
    return sorted(found)


def _from_folders(folder: str, report: Report) -> Iterator[tuple[str, str, str]]:
    for synset in _class_folders(folder):
        images = _images_in(os.path.join(folder, synset), report)
        if not images:
            report.skip(os.path.join(folder, synset), f"no image in it ({', '.join(ENDINGS)})")
        for path in images:
            yield path, synset, path


def _inner_synset(name: str) -> str | None:
    """Returns the synset of `<synset>.tar` in the training tar, or None for other names, including names with a path."""
    stem = name.removeprefix("./").removesuffix(".tar")
    return stem if name.endswith(".tar") and _SYNSET.fullmatch(stem) else None


def _from_train_tar(tar: str, report: Report) -> Iterator[tuple[str, str, str]]:
    for inner, name, offset, size in nested_members(tar, report):
        origin, synset = f"{tar}:{inner}:{name}", _inner_synset(inner)
        if synset is None:
            report.skip(f"{tar}:{inner}", "not named <synset>.tar")
        elif not name.lower().endswith(ENDINGS):
            report.skip(origin, f"not named like an image ({', '.join(ENDINGS)})")
        else:
            yield f"{tar}#{offset}+{size}", synset, origin


def _from_flat_tar(tar: str, report: Report) -> list[tuple[str, str]]:
    """Returns (member, origin) of each image, sorted by name."""
    found = sorted(members(tar, report), key=lambda member: os.path.basename(member[0]))
    for name, _, _ in found:
        if not name.lower().endswith(ENDINGS):
            report.skip(f"{tar}:{name}", f"not named like an image ({', '.join(ENDINGS)})")
    return [(f"{tar}#{o}+{s}", f"{tar}:{name}") for name, o, s in found if name.lower().endswith(ENDINGS)]


def _labelled(pictures: list[tuple[str, str]], where: str, labels: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yields flat images with the synsets of a label list, whose line n is for the nth image or contains its name."""
    if len(labels) != len(pictures):
        raise CorpusError(f"{where} has {len(pictures)} images, but its label list has {len(labels)} lines; it needs one each.")
    named = dict(line.split(maxsplit=1) for line in labels if len(line.split()) == 2)
    for (path, origin), line in zip(pictures, labels):
        yield path, named.get(re.split("[/:]", origin)[-1], line), origin
