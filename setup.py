import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (HERE / "t2t_mm/__init__.py").read_text(encoding="utf-8"), re.M)[1]

SERVE = [
    "aiohttp>=3.9",  # REST of the local server and of the client
    "psutil",  # memory and open files of the server in the load test
]
BEAM = ["apache-beam>=2.77,<3"]  # earlier releases exclude the grpcio that TensorFlow 2.21 needs
TFDS = [*BEAM, "mlcroissant"]  # the command `tfds` always imports both

# In a checkout, gin/ and bin/ are in the root; in a wheel, the same files are in a folder of the package.
SHIPPED = {
    f"t2t_mm._shipped.{folder.replace('/', '.')}": folder
    for folder in ("bin", "gin", *sorted(f"gin/{path.name}" for path in (HERE / "gin").iterdir() if path.is_dir()))
}

setup(
    name="t2t_mm",
    version=VERSION,
    description='The MultiModel of "One Model To Learn Them All" in TensorFlow and Keras 3',
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The t2t_mm authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["multi-task learning", "multimodal", "mixture of experts", "translation", "speech recognition", "keras"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=[*find_packages(include=["t2t_mm", "t2t_mm.*"]), *SHIPPED],
    package_dir=SHIPPED,
    package_data={
        "t2t_mm.inference": ["attention.html"], "t2t_mm.serving": ["page.html"], **{name: ["*.gin"] for name in SHIPPED},
    },  # fmt: skip
    entry_points={"console_scripts": ["t2t-mm = t2t_mm.command_line:main"]},
    python_requires=">=3.11,<3.14",  # Keras 3.15 needs 3.11; TensorFlow 2.21 has no wheel for 3.14
    install_requires=[
        # These three must be of the same minor version: tensorflow-text is tied to its TensorFlow, and the stubs to its
        # protobuf. The newest is the default; `bin/test.sh --tensorflow=2.17` tests the oldest.
        "tensorflow>=2.17,<2.22",
        "tensorflow-text>=2.17,<2.22",  # SentencePiece inside the graph, with ops that TensorFlow Serving links in
        "tensorflow-serving-api>=2.17,<2.22",  # warm-up records, and the stubs of the server and the client
        "keras>=3.15,<3.16",  # the optimizer overrides private methods (t2t_mm/training/optimizer.py)
        "gin-config>=0.5,<0.6",  # the strict checks read private tables (t2t_mm/common/config.py)
        "tensorboard>=2.17",  # tf.summary needs it, and TensorFlow 2.21 no longer brings it along
        "soundfile>=0.12",  # decodes audio with libsndfile, 4 MB
        "tensorflow-datasets>=4.9.7",  # its data sets, and the format of prepared records
        # tensorflow-datasets imports it. Newer releases need protobuf 6 without saying so, which TensorFlow 2.19 excludes.
        "tensorflow-metadata>=1.17.3,<1.18",
        "importlib_resources",  # the builders of tensorflow-datasets import it without declaring it
        "protobuf>=4.25,<7",  # from the version for TensorFlow 2.17 to the newest tested version
        "grpcio>=1.60,<2",
        "absl-py>=2",
        "sentencepiece>=0.2",  # trains the vocabulary
        "sacrebleu>=2.4",  # BLEU with a signature
        "jiwer>=3",  # word error rate
        "pillow>=10",  # draws the mini images, decodes CMYK JPEGs
        "numpy>=1.26,<3",
        "tqdm>=4.60",  # bars with the time left
        # A test compares our spectrogram masks with those of tensorflow-io (t2t_mm/input/augmentation.py explains why there
        # is a separate implementation). It has no wheel for Python 3.13, and its native library only loads with TensorFlow
        # 2.17. Only functions in pure TensorFlow are used, and no command imports it.
        'tensorflow-io==0.37.1; python_version < "3.13"',
    ],
    extras_require={
        "serve": SERVE,
        "beam": BEAM,
        "tfds": TFDS,
        # jax is the second Keras backend in the tests; 0.4.38 is the newest version that works with TensorFlow 2.17
        # (.ci/tensorflow-2.17.txt). selenium runs the tests of the web page if Chromium is installed, and axe-core-python
        # brings along Deque's checks of accessibility.
        "test": [
            "pytest>=8", "pytest-xdist>=3.8", "hypothesis>=6", "jax>=0.4.38", "selenium>=4", "axe-core-python>=0.1",
            "ruff==0.17.*", "mypy==2.4.*", "build", "setuptools>=77", *SERVE, *TFDS,
        ],
        "lint": ["ruff==0.17.*", "mypy==2.4.*", "pre-commit>=4"],
    },
)  # fmt: skip
