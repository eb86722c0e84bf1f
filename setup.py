from setuptools import find_packages, setup

SERVE = [
    "aiohttp",  # HTTP for the local server and the client; gRPC and the stubs come with tensorflow-serving-api
    "psutil",  # the server's memory and open files in the load test
]
BEAM = ["apache-beam>=2.77,<3"]  # 2.69 and before exclude grpcio 1.66; beside TensorFlow 2.17 it takes protobuf 4
TFDS = [*BEAM, "mlcroissant"]  # what the command `tfds` imports, whatever it does

setup(
    name="t2t_mm",
    version="0.1.0",
    description='The MultiModel of "One Model To Learn Them All" in TensorFlow and Keras 3',
    license="Apache-2.0",
    packages=find_packages(include=["t2t_mm", "t2t_mm.*"]),
    package_data={"t2t_mm.serving": ["page.html"]},
    python_requires=">=3.11,<3.13",  # Keras 3.15 needs 3.11, TensorFlow 2.17 stops at 3.12
    install_requires=[
        # The newest TensorFlow whose ABI tensorflow-io's native library loads on.
        "tensorflow==2.17.*",
        "tensorflow-text==2.17.*",  # SentencePiece inside the graph, with ops TensorFlow Serving links in
        "soundfile",  # sounds: libsndfile, 4 MB
        "tensorflow-serving-api==2.17.*",  # records that warm a server up; the server's and the client's stubs
        "keras>=3.15",
        "tensorflow-datasets",  # its own readers, and the format of prepared records
        "importlib_resources",  # of tensorflow-datasets' builders, which do not say so
        "tensorflow-metadata<1.18",  # of tensorflow-datasets; later ones need protobuf 5, TensorFlow 2.17 allows 4
        "absl-py",
        "gin-config",
        "sentencepiece",  # trains the vocabulary
        "sacrebleu",  # BLEU with a signature
        "jiwer",  # word error rate
        "pillow",  # draws the mini pictures, decodes CMYK JPEGs
        "numpy",
    ],
    extras_require={
        "serve": SERVE,
        "beam": BEAM,
        "tfds": TFDS,
        # jax 0.4.38 is the newest that installs beside TensorFlow 2.17 (numpy below 2, ml-dtypes below 0.5).
        # selenium drives the page's tests where Chromium is installed.
        # tensorflow-io's masks of spectrograms are what ours are held against; it has no wheel for Python 3.13.
        "test": [
            "tensorflow-io==0.37.1; python_version < '3.13'", "pytest", "pytest-xdist>=3.8", "hypothesis", "jax==0.4.38",
            "selenium", *SERVE, *TFDS,
        ],
    },
)
