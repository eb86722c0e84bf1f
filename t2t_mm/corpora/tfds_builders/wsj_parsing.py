"""The Wall Street Journal part of the Penn Treebank as a TFDS data set: sections 02-21, 22 and 23."""

import tensorflow_datasets as tfds

from t2t_mm.corpora.corpus_files import SPLITS, MissingCorpus
from t2t_mm.corpora.example import Report
from t2t_mm.corpora.treebank import Treebank

_NAMES = {"train": "train", "dev": "validation", "test": "test"}


class WsjParsing(tfds.core.GeneratorBasedBuilder):
    """Sentences, whose words are joined by spaces, and their cleaned trees in the form `(S (NP DT NN )NP (VP VBD )VP )S`."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """The manual directory contains the Penn Treebank (LDC99T42): `wsj/SS/*.mrg` or
    `parsed/mrg/wsj/SS/*.mrg`, where SS is the section."""

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"sentence": tfds.features.Text(), "tree": tfds.features.Text()}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("sentence", "tree"),
            homepage="https://catalog.ldc.upenn.edu/LDC99T42",
        )  # fmt: skip

    def _split_generators(self, dl_manager):
        source, found = Treebank(str(dl_manager.manual_dir), folder=""), {}
        for split in SPLITS:
            try:
                found[_NAMES[split]] = self._generate_examples(source.examples(split, Report(f"wsj_parsing {split}")))
            except MissingCorpus:
                if split == "train":
                    raise
        return found

    def _generate_examples(self, examples):
        for number, example in enumerate(examples):
            yield number, {"sentence": example.inputs, "tree": example.targets}
