"""Image classification from folders of images, one folder a class, as ImageNet (ILSVRC 2012) is laid out."""

import os

from t2t_mm.data.corpus_files import check_split, missing_corpus
from t2t_mm.data.example import CorpusError, Example, Report

_FOLDERS = {"train": "train", "dev": "val", "test": "test"}
_ENDINGS = (".jpeg", ".jpg", ".png")


class ImageFolders:
    """Images and the index of their class among the sorted folder names of `train`.

    Args:
      root: the folder of all corpora.
      folder: the folder in it that holds `train/<synset>/*.JPEG`, `val/<synset>/*.JPEG` and perhaps `test/...`.
    """

    def __init__(self, root: str, folder: str = "imagenet"):
        self.folder = os.path.join(root, folder)

    def class_names(self) -> list[str]:
        """The synset ids in the order of their class indices.

        Raises:
          CorpusError: there is no `train` folder, or no class in it.
        """
        return self._synsets("train")

    def examples(self, split: str, report: Report) -> list[Example]:
        """One example an image: inputs its path, targets its class index. "dev" is ImageNet's `val`.

        Raises:
          CorpusError: the split or its images are absent, or it has a class that `train` lacks.
          TooManyBadExamples: more classes without an image than `report` allows.
        """
        check_split(split)
        classes = {name: index for index, name in enumerate(self.class_names())}
        examples = []
        for synset in self._synsets(_FOLDERS[split]):
            folder = os.path.join(self.folder, _FOLDERS[split], synset)
            if synset not in classes:
                raise CorpusError(f"{folder}: class {synset} is not among the {len(classes)} classes of train.")
            images = _images(folder)
            if not images:
                report.skip(folder, f"no image in it ({', '.join(_ENDINGS)})")
            examples += [Example(inputs=path, targets=classes[synset], origin=path) for path in images]
        if not examples:
            raise CorpusError(f"{self.folder}: the classes of {_FOLDERS[split]} hold no image.")
        return examples

    def _synsets(self, folder: str) -> list[str]:
        path = os.path.join(self.folder, folder)
        synsets = sorted(entry.name for entry in os.scandir(path) if entry.is_dir()) if os.path.isdir(path) else []
        synsets = [name for name in synsets if not name.startswith(".")]
        if not synsets:
            raise missing_corpus(path, _EXPECTED[folder], "ILSVRC 2012 (image-net.org)")
        return synsets


_EXPECTED = {
    "train": "class folders train/<synset>/*.JPEG",
    "val": "class folders val/<synset>/*.JPEG (sort a flat val/ into the folders of its classes first)",
    "test": "class folders test/<synset>/*.JPEG (ImageNet's own test labels are not public: evaluate on dev)",
}


def _images(folder: str) -> list[str]:
    names = sorted(entry.name for entry in os.scandir(folder))
    return [os.path.join(folder, n) for n in names if n.lower().endswith(_ENDINGS) and not n.startswith(".")]
