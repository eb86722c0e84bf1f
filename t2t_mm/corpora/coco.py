"""Image captions in the annotation format of MS-COCO."""

import json
import os

from t2t_mm.corpora.corpus_files import check_split, missing_corpus, warn_of_count
from t2t_mm.corpora.example import CorpusError, DeclarationError, Example, Report
from t2t_mm.corpora.plain_text import decode, not_text

_NAMES = {"train": "train", "dev": "val", "test": "test"}
_CATALOGUE = "MS-COCO captions (cocodataset.org)"
_KARPATHY = {"train": ("train", "restval"), "dev": ("val",), "test": ("test",)}
_KARPATHY_IMAGES = {"train": 82783 + 30504, "dev": 5000, "test": 5000}
_IMAGES = {(2014, "train"): 82783, (2014, "dev"): 40504, (2017, "train"): 118287, (2017, "dev"): 5000}
_ID = "id"  # the type of fields that identify a record
_LARGEST_FILE = 1 << 30  # bytes; the annotations of the full release are a tenth of this


class CocoCaptions:
    """Images and their captions, with five or more captions per image.

    Args:
      root: the folder of all corpora.
      folder: the folder in `root` that contains `annotations/captions_{train,val,test}<year>.json`, and the images in
        `{train,val,test}<year>/`. COCO does not publish captions of its test images.
      year: the year of the release, 2014 (the split at the time of the paper) or 2017.
      karpathy: whether to use the split of Karpathy and Fei-Fei (2015) instead, from `dataset_coco.json` in `annotations` or
        next to it, with the images of 2014. Scores on the two splits are not comparable.

    Raises:
      DeclarationError: there is no such year, or it does not match `karpathy`.
    """

    def __init__(self, root: str, folder: str = "coco", year: int = 2014, karpathy: bool = False):
        if year not in (2014, 2017) or (karpathy and year != 2014):
            raise DeclarationError(f"year {year}, karpathy {karpathy}: COCO has 2014 and 2017, Karpathy's split only 2014.")
        self.folder = os.path.join(root, folder)
        self.year = year
        self.karpathy = karpathy

    def examples(self, split: str, report: Report) -> list[Example]:
        """Returns one example per caption for training, and one per image with all its captions as references otherwise.

        The following are reported and left out: images that are not on disk, have no caption, share their id with another
        file, or whose file name points outside the image folder; captions that are blank or belong to an unknown image; and
        records that lack a field.

        Raises:
          CorpusError: the annotation file or the image folder is missing or has another format, or nothing is usable.
          TooManyBadExamples: there are more unusable images and captions than `report` allows.
        """
        check_split(split)
        if self.karpathy:
            return self._karpathy_examples(split, report)
        name = f"{_NAMES[split]}{self.year}"
        annotation_path = os.path.join(self.folder, "annotations", f"captions_{name}.json")
        image_folder = os.path.join(self.folder, name)
        images, annotations = _read_annotations(annotation_path, report)
        if (self.year, split) in _IMAGES:
            warn_of_count(annotation_path, "images", len(images), _IMAGES[self.year, split])
        paths = _image_paths(images, image_folder, annotation_path, report)
        captions = _captions(annotations, {image["id"] for image in images}, annotation_path, report)
        if not (examples := _examples(split, paths, captions, annotation_path, report)):
            raise CorpusError(f"{annotation_path}: none of its images with captions is in {image_folder}.")
        return examples

    def _karpathy_examples(self, split: str, report: Report) -> list[Example]:
        """Returns the examples of `dataset_coco.json`. Its training set is COCO's plus the unused part of COCO's dev set."""
        places = (os.path.join(self.folder, part, "dataset_coco.json") for part in ("annotations", ""))
        path = next(filter(os.path.isfile, places), os.path.join(self.folder, "annotations", "dataset_coco.json"))
        content = _read_json(path, "Karpathy's split of COCO, dataset_coco.json,")
        fields: dict[str, type | str] = {"cocoid": _ID, "filename": str, "filepath": str, "split": str, "sentences": list}
        records = [r for r in _records(content, "images", fields, path, report) if r["split"] in _KARPATHY[split]]
        warn_of_count(path, f"images of {split}", len(records), _KARPATHY_IMAGES[split])
        paths: dict[int | str, str] = {}
        for folder in sorted({record["filepath"] for record in records}):
            images = [{"id": r["cocoid"], "file_name": r["filename"]} for r in records if r["filepath"] == folder]
            if _is_plain_name(folder):
                paths |= _image_paths(images, os.path.join(self.folder, folder), path, report)
            else:
                report.skip(f"{path}: filepath {folder!r}", f"is not the name of a folder in {self.folder}")
        ids = {record["cocoid"] for record in records}
        captions = _captions(_karpathy_annotations(records, path, report), ids, path, report)
        paths = {record["cocoid"]: paths[record["cocoid"]] for record in records if record["cocoid"] in paths}
        if not (examples := _examples(split, paths, captions, path, report)):
            raise CorpusError(f"{path}: none of the images of {split} with captions is in the folders that it names.")
        return examples


def _examples(split, paths: dict, captions: dict, annotation_path: str, report: Report) -> list[Example]:
    """Returns one example per caption for training, and one per image otherwise, in the order of `paths`."""
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
    return examples


def _read_annotations(path: str, report: Report) -> tuple[list[dict], list[dict]]:
    """Returns the `images` and `annotations` of a caption file that have the required fields."""
    content = _read_json(path, "a COCO caption file")
    images = _records(content, "images", {"id": _ID, "file_name": str}, path, report)
    return images, _records(content, "annotations", {"id": _ID, "image_id": _ID, "caption": str}, path, report)


def _karpathy_annotations(records: list[dict], path: str, report: Report) -> list[dict]:
    """Returns the captions of `dataset_coco.json` in COCO's own format."""
    annotations = []
    for record in records:
        for number, sentence in enumerate(record["sentences"]):
            if not isinstance(sentence, dict) or not isinstance(sentence.get("raw"), str):
                report.skip(f"{path}: image {record['cocoid']}: sentence {number}", "it has no text `raw`")
                continue
            annotation = {"image_id": record["cocoid"], "caption": sentence["raw"]}
            annotations.append(annotation | {"id": sentence.get("sentid", f"{record['cocoid']}:{number}")})
    return annotations


def _read_json(path: str, description: str) -> dict:
    if not os.path.isfile(path):
        raise missing_corpus(path, description, _CATALOGUE, "coco")
    if os.path.getsize(path) > _LARGEST_FILE:
        raise CorpusError(f"{path}: larger than {_LARGEST_FILE >> 20} MiB, which is too large for an annotation file of COCO.")
    try:
        with open(path, "rb") as file:
            content = json.loads(decode(file.read()))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: neither JSON nor UTF-8
        raise CorpusError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CorpusError(f"{path}: is not a JSON object with `images`.")
    return content


def _records(content: dict, name: str, fields: dict[str, type | str], path: str, report: Report) -> list[dict]:
    """Returns the records of a list that have all fields, with ids converted by `_identity`, and reports the others."""
    records, found = content.get(name), []
    if not isinstance(records, list):
        raise CorpusError(f"{path}: has no list `{name}`.")
    for number, record in enumerate(records):
        record = dict(record) if isinstance(record, dict) else {}
        for field, kind in fields.items():
            if kind is _ID:
                record[field] = _identity(record.get(field))
            if record.get(field) is None or (isinstance(kind, type) and not isinstance(record[field], kind)):
                what = f"of type {kind.__name__}" if isinstance(kind, type) else "that is a number or a text"
                report.skip(f"{path}: {name}[{number}]", f"it has no field `{field}` {what}")
                break
        else:
            found.append(record)
    return found


def _identity(value) -> int | str | None:
    """Returns an id. COCO uses numbers; a string of digits becomes the same number, and other strings are ids, too."""
    if isinstance(value, str) and value:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _image_paths(images: list[dict], folder: str, annotation_path: str, report: Report) -> dict[int | str, str]:
    """Returns the path of each image that is in the folder, by image id."""
    if not os.path.isdir(folder):
        raise missing_corpus(folder, f"the images of {annotation_path}", "MS-COCO images (cocodataset.org)", "coco")
    present = set(os.listdir(folder))  # one listing instead of 80 thousand file checks
    paths: dict[int | str, str] = {}
    names: dict[int | str, set[str]] = {}
    for image in images:
        names.setdefault(image["id"], set()).add(image["file_name"])
    for image in images:
        origin, name = f"{annotation_path}: image {image['id']}", image["file_name"]
        if len(names[image["id"]]) > 1:
            files = ", ".join(map(repr, sorted(names[image["id"]])[:5]))
            report.skip(origin, f"several files have this id ({files}), so its captions may belong to any of them")
        elif not _is_plain_name(name):
            report.skip(origin, f"file_name {name!r} is not the name of a file in {folder}")
        elif name not in present:
            report.skip(origin, f"no file {name} in {folder}")
        else:
            paths[image["id"]] = os.path.join(folder, name)
    return paths


def _is_plain_name(name: str) -> bool:
    """Returns whether a name refers to something directly inside a folder."""
    return os.path.basename(name) == name and "\\" not in name and name not in ("", ".", "..") and not not_text(name)


def _captions(
    annotations: list[dict], image_ids: set[int | str], annotation_path: str, report: Report
) -> dict[int | str, list[tuple[int | str, str]]]:
    """Returns (annotation id, caption) by image id, in the order of the file, with whitespace reduced to single spaces."""
    captions: dict[int | str, list[tuple[int | str, str]]] = {}
    for annotation in annotations:
        origin, caption = f"{annotation_path}: annotation {annotation['id']}", " ".join(annotation["caption"].split())
        if annotation["image_id"] not in image_ids:
            report.skip(origin, f"there is no image {annotation['image_id']}")
        elif not caption:
            report.skip(origin, "the caption is blank")
        elif wrong := not_text(caption):
            report.skip(origin, f"the caption contains {wrong}")
        else:
            captions.setdefault(annotation["image_id"], []).append((annotation["id"], caption))
    return captions
