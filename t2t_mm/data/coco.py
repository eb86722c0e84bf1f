"""Image captions in the annotation format of MS-COCO."""

import json
import os

from t2t_mm.data.corpus_files import check_split, missing_corpus
from t2t_mm.data.example import CorpusError, Example, Report

_NAMES = {"train": "train", "dev": "val", "test": "test"}


class CocoCaptions:
    """Images and their captions, five or more an image.

    Args:
      root: the folder of all corpora.
      folder: the folder in it that holds `annotations/captions_{train,val,test}<year>.json` and the images in
        `{train,val,test}<year>/`. COCO publishes no captions of its test images.
      year: of the release, 2014 (the split of the paper's time) or 2017.
    """

    def __init__(self, root: str, folder: str = "coco", year: int = 2014):
        self.folder = os.path.join(root, folder)
        self.year = year

    def examples(self, split: str, report: Report) -> list[Example]:
        """In training one example a caption; in dev and test one an image, with all its captions as references.

        An image that is not on disk, has no caption, or whose file name leads out of the image folder, and a blank
        caption or one of an unknown image, are reported and left out.

        Raises:
          CorpusError: the annotation file or the image folder is absent or not in the format, or nothing is usable.
          TooManyBadExamples: more bad images and captions than `report` allows.
        """
        check_split(split)
        name = f"{_NAMES[split]}{self.year}"
        annotation_path = os.path.join(self.folder, "annotations", f"captions_{name}.json")
        image_folder = os.path.join(self.folder, name)
        images, annotations = _read_annotations(annotation_path)
        paths = _image_paths(images, image_folder, annotation_path, report)
        captions = _captions(annotations, {image["id"] for image in images}, annotation_path, report)
        examples = []
        for image_id, path in paths.items():
            origin = f"{annotation_path}: image {image_id}"
            if image_id not in captions:
                report.skip(origin, "no caption")
            elif split == "train":
                examples += [
                    Example(inputs=path, targets=caption, origin=f"{annotation_path}: annotation {annotation_id}")
                    for annotation_id, caption in captions[image_id]
                ]
            else:
                references = tuple(caption for _, caption in captions[image_id])
                examples.append(Example(inputs=path, targets=references[0], origin=origin, references=references))
        if not examples:
            raise CorpusError(f"{annotation_path}: no image of it with a caption is in {image_folder}.")
        return examples


def _read_annotations(path: str) -> tuple[list[dict], list[dict]]:
    """The `images` and `annotations` of a caption file, with the fields used here checked."""
    if not os.path.isfile(path):
        raise missing_corpus(path, "a COCO caption file", "MS-COCO captions (cocodataset.org)")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: neither JSON nor UTF-8
        raise CorpusError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CorpusError(f"{path}: holds no JSON object with `images` and `annotations`.")
    images = _records(content, "images", {"id": int, "file_name": str}, path)
    return images, _records(content, "annotations", {"id": int, "image_id": int, "caption": str}, path)


def _records(content: dict, name: str, fields: dict[str, type], path: str) -> list[dict]:
    records = content.get(name)
    if not isinstance(records, list):
        raise CorpusError(f"{path}: has no list `{name}`.")
    for number, record in enumerate(records):
        for field, kind in fields.items():
            if not isinstance(record, dict) or not isinstance(record.get(field), kind):
                raise CorpusError(f"{path}: {name}[{number}] has no field `{field}` of type {kind.__name__}.")
    return records


def _image_paths(images: list[dict], folder: str, annotation_path: str, report: Report) -> dict[int, str]:
    """The path of each image that is in the folder, by image id."""
    if not os.path.isdir(folder):
        raise missing_corpus(folder, f"the images of {annotation_path}", "MS-COCO images (cocodataset.org)")
    present = set(os.listdir(folder))  # one listing instead of a look at each of 80 thousand files
    paths = {}
    for image in images:
        origin, name = f"{annotation_path}: image {image['id']}", image["file_name"]
        if os.path.basename(name) != name or "\\" in name or name in ("", ".", ".."):
            report.skip(origin, f"file_name {name!r} is not the name of a file in {folder}")
        elif name not in present:
            report.skip(origin, f"no file {name} in {folder}")
        else:
            paths[image["id"]] = os.path.join(folder, name)
    return paths


def _captions(
    annotations: list[dict], image_ids: set[int], annotation_path: str, report: Report
) -> dict[int, list[tuple[int, str]]]:
    """(annotation id, caption) by image id, in the order of the file; white space becomes single spaces."""
    captions: dict[int, list[tuple[int, str]]] = {}
    for annotation in annotations:
        origin, caption = f"{annotation_path}: annotation {annotation['id']}", " ".join(annotation["caption"].split())
        if annotation["image_id"] not in image_ids:
            report.skip(origin, f"there is no image {annotation['image_id']}")
        elif not caption:
            report.skip(origin, "the caption is blank")
        else:
            captions.setdefault(annotation["image_id"], []).append((annotation["id"], caption))
    return captions
