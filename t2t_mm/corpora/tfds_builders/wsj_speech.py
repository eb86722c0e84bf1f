"""WSJ0 and WSJ1 as a TFDS data set: si284 (or the available part), dev93 and eval92."""

import os

import numpy as np
import tensorflow_datasets as tfds

from t2t_mm.corpora.corpus_files import SPLITS, MissingCorpus
from t2t_mm.corpora.example import MediaError, Report
from t2t_mm.corpora.sounds import load_audio
from t2t_mm.corpora.wsj import WSJSpeech

_NAMES = {"train": "train", "dev": "validation", "test": "test"}


class WsjSpeech(tfds.core.GeneratorBasedBuilder):
    """Readings of Wall Street Journal texts at 16 kHz, with cleaned transcripts in lower case."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """The manual directory contains WSJ0 (LDC93S6B) and WSJ1 (LDC94S13B): `wsj0/` and `wsj1/`,
    or the folders of the discs (`11-1.1/wsj0/...`), with the .ndx lists, the .dot transcripts and the .wv1 recordings."""

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "speech": tfds.features.Audio(sample_rate=16000), "text": tfds.features.Text(),
            "speaker_id": tfds.features.Text(), "id": tfds.features.Text(),
        }  # fmt: skip
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("speech", "text"),
            homepage="https://catalog.ldc.upenn.edu/LDC93S6B",
        )  # fmt: skip

    def _split_generators(self, dl_manager):
        source, found = WSJSpeech(str(dl_manager.manual_dir), folder=""), {}
        for split in SPLITS:
            report = Report(f"wsj_speech {split}")
            try:
                found[_NAMES[split]] = self._generate_examples(source.examples(split, report), report)
            except MissingCorpus:
                if split == "train":
                    raise
        return found

    def _generate_examples(self, examples, report):
        for example in examples:
            try:
                samples = np.round(load_audio(example.inputs, 16000) * 2**15).astype(np.int64)
            except MediaError as error:
                report.skip(example.origin, str(error))
                continue
            name = os.path.basename(example.inputs).lower().removesuffix(".wv1")
            yield name, {"speech": samples, "text": example.targets, "speaker_id": name[:3], "id": name}
