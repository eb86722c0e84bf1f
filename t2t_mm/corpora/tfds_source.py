"""Data sets of tensorflow-datasets, such as `imagenet2012`, `coco_captions`, `wmt14_translate` and `librispeech`."""

from collections.abc import Iterator, Sequence

import tensorflow as tf
import tensorflow_datasets as tfds

from t2t_mm.corpora.corpus_files import MissingCorpus, check_split
from t2t_mm.corpora.example import CorpusError, Example, Report
from t2t_mm.corpora.split import Streamed

_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
_SHUFFLED_MEDIA = 256  # number of images or recordings in the shuffle buffer


class TFDS:
    """A source of examples that `tfds build` has prepared. It downloads nothing.

    Args:
      name: the name of the data set with its configuration, for instance "wmt14_translate/de-en".
      inputs, targets: the features to use. A feature inside a sequence has a path, for instance "captions/text". Each of
        several captions is a training example; in evaluation, all of them are references. If a problem has several inputs,
        `inputs` is a tuple, for instance ("image", "question").
      data_dir: the folder in which it was prepared. Default: that of TFDS (~/tensorflow_datasets).
      splits: the splits of the data set for train, dev and test, in TFDS's notation.
    """

    def __init__(
        self, name: str, inputs: str | Sequence[str], targets: str, data_dir: str | None = None,
        splits: dict[str, str] | None = None,
    ):  # fmt: skip
        self.name, self.inputs, self.targets = name, inputs, targets
        self.data_dir, self.splits = data_dir, splits or _SPLITS

    def class_names(self) -> list[str]:
        """Returns the names of the classes in the order of their indices."""
        return list(self._builder().info.features[self.targets].names)

    def examples(self, split: str, report: Report) -> "TFDSExamples":
        """Returns the examples of a split, which are read when they are needed.

        Raises:
          CorpusError: TFDS has no such data set, it is not prepared in `data_dir`, or it has no such split or feature.
        """
        check_split(split)
        builder = self._builder()
        known = dict(builder.info.splits)
        wanted = self.splits.get(split)
        if not known:
            raise MissingCorpus(
                f"Looked for the prepared data set {self.name} at {builder.data_dir}: it does not exist. Prepare it with "
                f"`tfds build {self.name} --data_dir={self.data_dir or '...'}` (and --manual_dir if it must be downloaded by "
                "hand), or train on the mini corpora of `python bin/make_mini.py`."
            )
        if wanted is None or any(part.split("[")[0].strip() not in known for part in wanted.split("+")):
            raise MissingCorpus(f"{self.name}: no split {wanted} for {split}; it has {', '.join(known)}.")
        return TFDSExamples(builder, wanted, self.inputs, self.targets)

    def _builder(self) -> tfds.core.DatasetBuilder:
        try:
            builder = tfds.builder(self.name, data_dir=self.data_dir)
        except (tfds.core.DatasetNotFoundError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{self.name}: tensorflow-datasets has no such data set: {reason}") from error
        for path in (*_paths(self.inputs), self.targets):
            _feature(builder, path)
        return builder


def _paths(inputs: str | Sequence[str]) -> tuple[str, ...]:
    return (inputs,) if isinstance(inputs, str) else tuple(inputs)


def _feature(builder: tfds.core.DatasetBuilder, path: str):
    found = builder.info.features
    for part in path.split("/"):
        if part not in found:
            raise CorpusError(f"{builder.name}: no feature {path}; it has {', '.join(builder.info.features)}.")
        found = found[part]
    return found


class TFDSExamples(Streamed):
    """The examples of a split. Images are still encoded; audio consists of samples."""

    form = "encoded"

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str, inputs: str | Sequence[str], targets: str):
        self._builder, self._split, self._inputs, self._targets = builder, split, _paths(inputs), targets
        self._input_features = [_feature(builder, path) for path in self._inputs]
        self._is_text = [isinstance(feature, tfds.features.Text) for feature in self._input_features]

    def __len__(self) -> int:
        """Returns the number of records. A record with several captions counts once."""
        return self._builder.info.splits[self._split].num_examples

    def __iter__(self) -> Iterator[Example]:
        for element in tfds.as_numpy(self._records(False, 0)):
            references = tuple(text.decode() for text in element["references"])
            origin, target = element["origin"].decode(), element["targets"]
            parts = element["inputs"] if len(self._inputs) > 1 else [element["inputs"]]
            shown = tuple(part.decode() if text else origin for part, text in zip(parts, self._is_text))
            target = target.decode() if isinstance(target, bytes) else int(target)
            yield Example(shown if len(shown) > 1 else shown[0], target, origin, references)

    def check(self, vocabulary: str, image_size: int, sample_rate: int, words_in_trees: bool = False) -> None:
        """Checks the sample rate of audio, and that trees are read without their words.

        Raises:
          CorpusError: the sample rate differs from that of the run, or the trees should contain words.
        """
        if words_in_trees:
            raise CorpusError(
                f"{self._builder.info.full_name}: words_in_trees requires the files of a treebank or prepared records."
            )
        for feature in self._input_features:
            rate = getattr(feature, "sample_rate", None)
            if rate is not None and rate != sample_rate:
                raise CorpusError(
                    f"{self._builder.name}: {rate} samples per second, but the features of the run need {sample_rate}."
                )

    def dataset(self, training: bool, seed: int, shuffle: int) -> tf.data.Dataset:
        """Returns {"inputs", "targets", "index", "origin"} of each example; shuffled by `seed` and endless in training."""
        data = self._records(training, seed)
        if training:
            if "/" in self._targets:
                data = data.filter(lambda element: tf.size(element["references"]) > 0).flat_map(_one_each)
            size = shuffle if all(self._is_text) else min(shuffle, _SHUFFLED_MEDIA)
            data = data.shuffle(max(size, 2), seed=seed).repeat()
        return data.map(lambda element: {name: element[name] for name in ("inputs", "targets", "index", "origin")})

    def _records(self, shuffle_files: bool, seed: int) -> tf.data.Dataset:
        """Returns {"inputs", "targets", "references" [n], "index", "origin"} of each record."""
        reading = tfds.ReadConfig(
            add_tfds_id=True,
            try_autocache=False,
            shuffle_seed=seed,
            shuffle_reshuffle_each_iteration=True,
            interleave_cycle_length=16,
        )
        try:
            data = self._builder.as_dataset(
                split=self._split, shuffle_files=shuffle_files, read_config=reading,
                decoders=self._decoders(),
            )  # fmt: skip
        except (AssertionError, FileNotFoundError) as error:
            raise MissingCorpus(f"{self._builder.name}: {error}. Prepare it with `tfds build`.") from error
        return data.enumerate().map(self._element, num_parallel_calls=1, deterministic=True)

    def _decoders(self) -> tfds.decode.PartialDecoding | None:
        """Returns the decoders, which only decode the features in use, and do not decode images yet."""
        if isinstance(self._builder.info.features, tfds.features.Translation):
            return None
        wanted = {}
        for path in (*self._inputs, self._targets):
            outer, _, inner = path.partition("/")
            wanted[outer] = {inner: True} if inner else True
        encoded = {
            path: tfds.decode.SkipDecoding()
            for path, feature in zip(self._inputs, self._input_features)
            if isinstance(feature, tfds.features.Image)
        }
        return tfds.decode.PartialDecoding(wanted, encoded or None)

    def _element(self, index, record):
        several, targets = "/" in self._targets, record
        for part in self._targets.split("/"):
            targets = targets[part]
        references = targets if several else tf.zeros([0], tf.string)
        if several:
            targets = tf.concat([targets, [""]], axis=0)[0]
        name = f"{self._builder.name} {self._split} "
        # Not by its place, which is another one in every pass over shuffled files.
        origin = tf.strings.join([name, record["tfds_id"]])
        inputs = tuple(record[path] for path in self._inputs)
        return {
            "inputs": inputs if len(inputs) > 1 else inputs[0], "targets": targets, "references": references,
            "index": index, "origin": origin,
        }  # fmt: skip


def _one_each(element) -> tf.data.Dataset:
    """Splits a record with several captions into one example per caption."""
    captions = tf.data.Dataset.from_tensor_slices(element["references"])
    return captions.map(lambda caption: {**element, "targets": caption})
