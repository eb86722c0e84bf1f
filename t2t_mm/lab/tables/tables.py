"""Declares the tables: their runs, and which figures they show next to those of the paper.

Adding a problem takes a .gin file and one row in PROBLEMS; adding an ablation takes a .gin file and one row in
VARIANTS. See docs/reproduce.md.
"""

import dataclasses
import itertools
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class ProblemRow:
    """A problem of the tables.

    Attributes:
      decoded: the decoded metrics that the tables show.
      seconds: duration of an update on one batch with the mini size on two CPU cores, for the first estimate of the
        time that a run takes.
    """

    name: str
    label: str
    decoded: tuple[str, ...]
    seconds: float = 0.25


@dataclasses.dataclass(frozen=True)
class Variant:
    """An ablation of the model."""

    name: str
    label: str
    gin_file: str


@dataclasses.dataclass(frozen=True)
class OtherSetting:
    """A hyper-parameter that may explain a difference from the paper."""

    name: str
    label: str
    bindings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ZeroShotOption:
    """A way to train the joint model, so that it answers pairs of input and command with which it was never trained.

    Attributes:
      init_from: another way, from whose weights the training goes on. Default: it starts from the beginning.
      also_from_mean: whether the model is also evaluated with answers from the mean of the encoded input alone.
    """

    name: str
    label: str
    gin_files: tuple[str, ...]
    init_from: str | None = None
    also_from_mean: bool = False


PROBLEMS = (
    ProblemRow("wsj_speech", "WSJ speech", ("wer",), 0.45),
    ProblemRow("imagenet", "ImageNet", ("top1", "top5"), 0.25),
    ProblemRow("coco", "COCO captions", ("cider", "bleu4"), 0.3),
    ProblemRow("wsj_parsing", "WSJ parsing", ("f1",), 0.2),
    ProblemRow("wmt_en_de", "WMT EN→DE", ("bleu",), 0.2),
    ProblemRow("wmt_de_en", "WMT DE→EN", ("bleu",), 0.2),
    ProblemRow("wmt_en_fr", "WMT EN→FR", ("bleu",), 0.2),
    ProblemRow("wmt_fr_en", "WMT FR→EN", ("bleu",), 0.2),
)
VARIANTS = (
    Variant("without_mixture", "without mixture-of-experts", "gin/tables/without_mixture.gin"),
    Variant("without_attention", "without attention", "gin/tables/without_attention.gin"),
    Variant("mean_instead_of_attention", "the source's mean instead of attention", "gin/tables/mean_instead_of_attention.gin"),
)
CLASSES_WITHOUT_ATTENTION = (
    "Only the mixer and the decoder have attention. In sizes that read classes from the encoder's output "
    "(`MultiModel.classes_from`), such as mini, ImageNet alone without attention is therefore the same model with other "
    "random numbers, and its difference shows how large the noise is."
)
ZERO_SHOT = (
    ZeroShotOption("command_every", "command at every position", ("gin/tables/command_every.gin",)),
    ZeroShotOption("command_both", "command at both", ("gin/tables/command_both.gin",)),
    ZeroShotOption("autoencoders", "with autoencoders", ("gin/tables/autoencoders.gin",)),
    ZeroShotOption(
        "both_autoencoders", "command at both, autoencoders", ("gin/tables/command_both.gin", "gin/tables/autoencoders.gin")
    ),
    ZeroShotOption(
        "every_contrast", "command at every position, contrast", ("gin/tables/command_every.gin", "gin/tables/contrast.gin")
    ),
    ZeroShotOption(
        "every_contrast_autoencoders",
        "command at every position, contrast, autoencoders",
        ("gin/tables/command_every.gin", "gin/tables/contrast.gin", "gin/tables/autoencoders.gin"),
    ),
    ZeroShotOption(
        "means",
        "contrast, autoencoders, means and captions without images",
        (
            "gin/tables/command_every.gin", "gin/tables/contrast.gin", "gin/tables/autoencoders.gin",
            "gin/tables/caption_texts.gin", "gin/tables/means.gin", "gin/tables/continued.gin",
        ),
        init_from="every_contrast_autoencoders",
        also_from_mean=True,
    ),
)  # fmt: skip
_FROM_MEAN = ("model.MultiModel.reads = 'mean'",)
MORE_EXPERTS = tuple(
    OtherSetting(f"{experts}_experts", f"{experts} experts", (f"moe.MixtureOfExperts.num_experts = {experts}",))
    for experts in (16, 32)
)
OTHER_SETTINGS = (
    *MORE_EXPERTS,
    OtherSetting(
        "no_dropout", "no dropout", ("convolution.ConvBlock.dropout = 0.0", "attention.AttentionBlock.dropout = 0.0")
    ),
    OtherSetting(
        "dropout_20", "dropout 0.2", ("convolution.ConvBlock.dropout = 0.2", "attention.AttentionBlock.dropout = 0.2")
    ),
    OtherSetting(
        "half_batches", "batches of half the size",
        ("buckets.BatchSettings.positions = 320", "buckets.BatchSettings.images = 10"),
    ),
)  # fmt: skip
ABLATED = ("imagenet", "wmt_en_fr")  # the problems of Table 4
PARSING_WITH_IMAGENET = "parsing_with_imagenet"
TREES = (100, 300, 5000)  # corpus sizes of the learning curve, besides the 1,000 trees of the other tables
PAIRS = {  # problem -> label; these inputs and commands are never trained together, see gin/tables/zero_shot.gin
    "wmt_de_fr": "German text → French", "wmt_fr_de": "French text → German",
    "caption_de": "image → German", "caption_fr": "image → French",
    "speech_de": "speech → German", "speech_fr": "speech → French", "speech_tree": "speech → parse tree",
}  # fmt: skip
CHANCE = "chance"  # used instead of a run's name in cells that show the score of the trivial answers
# Input -> command -> problem, for the grid that shows which pairs were trained and which were not.
COMMANDS = {
    "English text": {"German": "wmt_en_de", "French": "wmt_en_fr", "parse tree": "wsj_parsing"},
    "German text": {"English": "wmt_de_en", "French": "wmt_de_fr"},
    "French text": {"English": "wmt_fr_en", "German": "wmt_fr_de"},
    "image": {"English": "coco", "German": "caption_de", "French": "caption_fr", "class": "imagenet"},
    "speech": {"English": "wsj_speech", "German": "speech_de", "French": "speech_fr", "parse tree": "speech_tree"},
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training or, with `trained=False`, another evaluation of the weights of `init_from`.

    Attributes:
      only: its problems. Empty: all problems of its configuration.
      gin_files: configuration files, applied after those of the corpora.
      bindings: Gin bindings, applied after the files.
      init_from: the run whose weights it starts from, with the same seed.
      decode: whether answers are decoded.
      baselines: whether trivial answers are scored too.
      more_seeds: number of its seeds beyond those of the other runs; below 0, it has fewer than they.
    """

    name: str
    only: tuple[str, ...] = ()
    gin_files: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()
    init_from: str | None = None
    trained: bool = True
    decode: bool = True
    baselines: bool = False
    more_seeds: int = 0


@dataclasses.dataclass(frozen=True)
class Cell:
    """A figure of a run for a problem, and the paper's figure in the same unit, if it has one."""

    run: str
    problem: str
    metric: str
    paper: float | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison of the teacher-forced figures of two runs on one problem.

    Attributes:
      claim: short description of the hypothesis that is tested.
    """

    problem: str
    run: str
    other: str
    claim: str


@dataclasses.dataclass(frozen=True)
class ResultTable:
    """A table of the report.

    Attributes:
      name: its name for the flag --table.
      columns: column headings.
      rows: (label, cells) of each row. A number in place of a cell is a figure that only the paper has.
      comparisons: tests that are shown below the table.
      note: a sentence that is shown above the table.
      more_runs: runs that are needed although no cell shows them.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | float, ...]], ...]
    comparisons: tuple[Comparison, ...] = ()
    note: str = ""
    more_runs: tuple[str, ...] = ()

    def run_names(self) -> list[str]:
        """Returns the names of all runs that the table needs, without duplicates."""
        cells = [c.run for _, row in self.rows for c in row if isinstance(c, Cell) and c.run != CHANCE]
        compared = [name for c in self.comparisons for name in (c.run, c.other)]
        return list(dict.fromkeys([*cells, *compared, *self.more_runs]))


def declare(
    problems: Sequence[ProblemRow] = PROBLEMS, variants: Sequence[Variant] = VARIANTS
) -> tuple[dict[str, Run], tuple[ResultTable, ...]]:
    """Returns all runs by name, in the order in which they are trained, and the tables."""
    # The paper's main finding is about parsing, so that its two runs have more seeds than the others.
    runs = [Run("joint", more_seeds=2)]
    runs += [Run(_alone(p.name), (p.name,), more_seeds=2 * (p.name == "wsj_parsing")) for p in problems]
    runs.append(Run(PARSING_WITH_IMAGENET, only=("wsj_parsing", "imagenet")))
    for variant in variants:
        runs += [Run(f"{_alone(name)}_{variant.name}", (name,), (variant.gin_file,), decode=False) for name in ABLATED]
        runs.append(Run(f"joint_{variant.name}", (), (variant.gin_file,), decode=False))
    for trees in TREES:
        more = _trees(trees)
        runs.append(Run(f"{_alone('wsj_parsing')}_{trees}_trees", ("wsj_parsing",), decode=False, **more))
        runs.append(Run(f"{PARSING_WITH_IMAGENET}_{trees}_trees", ("wsj_parsing", "imagenet"), decode=False, **more))
        runs.append(Run(f"joint_{trees}_trees", decode=False, **more))
    for setting in OTHER_SETTINGS:
        for name, only in ((_alone("wsj_parsing"), ("wsj_parsing",)), (PARSING_WITH_IMAGENET, ("wsj_parsing", "imagenet"))):
            name = f"{name}_{setting.name}"
            runs.append(Run(name, only, bindings=setting.bindings, decode=False, more_seeds=-2))
    runs += [Run(f"joint_{more.name}", bindings=more.bindings, decode=False, more_seeds=-2) for more in MORE_EXPERTS]
    zero_shot = ("gin/tables/zero_shot.gin",)
    runs.append(Run("zero_shot", tuple(PAIRS), zero_shot, init_from="joint", trained=False, baselines=True))
    tuned = (*zero_shot, "gin/tables/fine_tuning.gin")
    runs += [Run(_tuned(name), (name,), tuned, init_from="joint") for name in PAIRS]
    for option in ZERO_SHOT:
        joint, start = f"joint_{option.name}", f"joint_{option.init_from}" if option.init_from else None
        runs.append(Run(joint, (), option.gin_files, init_from=start, decode=False))
        runs += [
            Run(name, tuple(PAIRS), (*zero_shot, *option.gin_files), bindings, init_from=joint, trained=False)
            for name, bindings in _evaluations(option)
        ]
    few = ("gin/tables/few_updates.gin",)
    names = [problem.name for problem in problems]
    runs += [Run(_brief(name), (name,), few, decode=False) for name in names]
    runs += [Run(_pair(a, b), (a, b), few, decode=False) for a, b in itertools.combinations(names, 2)]
    tables = (
        _table1(), _table2(problems), _table3(), _table4(problems, variants), _curve(), _partner_settings(),
        _numbers_of_experts(problems), _zero_shot(problems), _zero_shot_options(), _pairs(problems),
    )  # fmt: skip
    return {run.name: run for run in runs}, tables


def _alone(problem: str) -> str:
    return f"alone_{problem}"


def _tuned(problem: str) -> str:
    return f"tuned_{problem}"


def _brief(problem: str) -> str:
    return f"brief_{problem}"


def _pair(problem: str, other: str) -> str:
    return f"pair_{problem}_{other}"


def _trees(trees: int) -> dict:
    """Returns the settings of `Run` that select a number of parse trees.

    The 5,000 trees of the mini corpora are the usual 1,000 and those of the sections that the usual split leaves out.
    """
    if trees > 1000:
        return {"gin_files": ("gin/tables/more_trees.gin",)}
    return {"bindings": (f"experiment.Experiment.limits = {{'wsj_parsing': {trees}}}",)}


def _table1() -> ResultTable:
    return ResultTable(
        "1", "The joint model on decoded metrics",
        ("decoded", "state of the art cited by the paper"),
        (
            ("ImageNet, top-5 accuracy", (Cell("joint", "imagenet", "top5", 86), 95)),
            ("WMT EN→DE, BLEU", (Cell("joint", "wmt_en_de", "bleu", 21.2), 26.0)),
            ("WMT EN→FR, BLEU", (Cell("joint", "wmt_en_fr", "bleu", 30.5), 40.5)),
        ),
    )  # fmt: skip


_TABLE_2 = {  # joint log-perplexity and accuracy, single log-perplexity and accuracy
    "imagenet": (1.7, 66, 1.6, 67), "wmt_en_de": (1.4, 72, 1.4, 71),
    "wsj_speech": (4.4, 41, 5.7, 23), "wsj_parsing": (0.15, 98, 0.2, 97),
}  # fmt: skip


def _table2(problems) -> ResultTable:
    rows, comparisons = [], []
    for problem in problems:
        paper = _TABLE_2.get(problem.name, (None,) * 4)
        runs = ("joint", "joint", _alone(problem.name), _alone(problem.name))
        metrics = ("log_perplexity", "token_accuracy") * 2
        cells = [Cell(run, problem.name, metric, value) for run, metric, value in zip(runs, metrics, paper)]
        decoded = problem.decoded[-1:] * 2
        cells += [Cell(run, problem.name, metric) for run, metric in zip(runs[1:3], decoded)]
        rows.append((f"{problem.label} ({_METRIC_NAMES.get(problem.decoded[-1], problem.decoded[-1])})", tuple(cells)))
        comparisons.append(Comparison(problem.name, "joint", _alone(problem.name), "joint against single training"))
    return ResultTable(
        "2", "Joint training on all problems compared with training on one",
        ("joint: log-perplexity", "joint: accuracy", "single: log-perplexity", "single: accuracy",
         "joint: decoded", "single: decoded"),
        tuple(rows), tuple(comparisons),
        "Both have the same hyper-parameters and the same number of updates on the problem. The label of each row states its "
        "decoded metric.",
    )  # fmt: skip


def _table3() -> ResultTable:
    paper = {
        _alone("wsj_parsing"): (0.20, 97.1, 11.7), PARSING_WITH_IMAGENET: (0.16, 97.5, 12.7), "joint": (0.15, 97.9, 14.5),
    }  # fmt: skip
    labels = ("parsing alone", "with ImageNet", "with all problems")
    rows = [
        (
            label,
            tuple(
                Cell(run, "wsj_parsing", metric, value)
                for metric, value in zip(("log_perplexity", "token_accuracy", "sequence_accuracy", "f1"), (*values, None))
            ),
        )
        for label, (run, values) in zip(labels, paper.items())
    ]
    others = ((PARSING_WITH_IMAGENET, "an unrelated partner helps parsing"), ("joint", "all problems help parsing"))
    return ResultTable(
        "3", "WSJ parsing alone and with other problems",
        ("log-perplexity", "accuracy", "whole-sequence accuracy", "F1"),
        tuple(rows),
        tuple(Comparison("wsj_parsing", run, _alone("wsj_parsing"), claim) for run, claim in others),
    )  # fmt: skip


_TABLE_4 = {  # all blocks, without mixture, without attention
    "imagenet": {"": (1.6, 67), "without_mixture": (1.6, 66), "without_attention": (1.6, 67)},
    "wmt_en_fr": {"": (1.2, 76), "without_mixture": (1.3, 74), "without_attention": (1.4, 72)},
}


def _table4(problems, variants) -> ResultTable:
    columns = [
        f"{label}: {metric}"
        for label in ("all blocks", *(variant.label for variant in variants))
        for metric in ("log-perplexity", "accuracy")
    ]
    labels = {problem.name: problem.label for problem in problems}

    def row(problem, run, paper):
        return tuple(
            Cell(f"{run}_{variant}".rstrip("_"), problem, metric, value)
            for variant in ("", *(variant.name for variant in variants))
            for metric, value in zip(("log_perplexity", "token_accuracy"), paper.get(variant, (None, None)))
        )

    rows = [(f"{labels[name]}, alone", row(name, _alone(name), _TABLE_4.get(name, {}))) for name in ABLATED]
    rows += [(f"{problem.label}, joint", row(problem.name, "joint", {})) for problem in problems]
    comparisons = [
        Comparison(name, _alone(name), f"{_alone(name)}_{variant.name}", f"all blocks against {variant.label}")
        for variant in variants
        for name in ABLATED
    ] + [
        Comparison(problem.name, "joint", f"joint_{variant.name}", f"all blocks against {variant.label}, joint")
        for variant in variants
        for problem in problems
    ]
    return ResultTable(
        "4", "What each block contributes", tuple(columns), tuple(rows), tuple(comparisons),
        "The number of parameters of each variant is listed under Runs. Without attention, the generation of text does "
        "not depend on the source, which reaches the mixer and the decoder only through their attention: what remains is a "
        "language model of the target. The paper may have meant another ablation, so the last columns are those of a model "
        "in which the mean of the encoded input is added to the stream of the target instead of the attention to it, without "
        f"self-attention. {CLASSES_WITHOUT_ATTENTION}",
    )  # fmt: skip


def _curve() -> ResultTable:
    metrics = ("log_perplexity", "token_accuracy", "sequence_accuracy")
    rows, comparisons = [], []
    for trees, suffix in curve_runs():
        joint, alone, with_images = (f"{run}{suffix}" for run in ("joint", _alone("wsj_parsing"), PARSING_WITH_IMAGENET))
        cells = [Cell(run, "wsj_parsing", metric) for run in (joint, alone) for metric in metrics]
        rows.append((trees, (*cells, Cell(with_images, "wsj_parsing", metrics[0]))))
        comparisons.append(Comparison("wsj_parsing", joint, alone, f"joint against alone, {trees}"))
        comparisons.append(Comparison("wsj_parsing", with_images, alone, f"with ImageNet against alone, {trees}"))
    return ResultTable(
        "curve", "Parsing by corpus size",
        ("joint: log-perplexity", "joint: accuracy", "joint: whole sequences",
         "alone: log-perplexity", "alone: accuracy", "alone: whole sequences", "with ImageNet: log-perplexity"),
        tuple(rows), tuple(comparisons),
        "Each corpus is a subset of the next larger one; the dev and test sets stay the same.",
    )  # fmt: skip


def curve_runs() -> list[tuple[str, str]]:
    """Returns (label, suffix of the run names) for each corpus of the learning curve, smallest first."""
    found = [(trees, f"_{trees}_trees") for trees in TREES] + [(1000, "")]
    return [(f"{trees:,} trees", suffix) for trees, suffix in sorted(found)]


def _partner_settings() -> ResultTable:
    settings = [("", "as in the other tables"), *((f"_{setting.name}", setting.label) for setting in OTHER_SETTINGS)]
    rows, comparisons = [], []
    for suffix, label in settings:
        alone, with_images = f"{_alone('wsj_parsing')}{suffix}", f"{PARSING_WITH_IMAGENET}{suffix}"
        metrics = ("log_perplexity", "sequence_accuracy")
        cells = [Cell(run, "wsj_parsing", metric) for run in (alone, with_images) for metric in metrics]
        rows.append((label, (*cells, Cell(with_images, "imagenet", "log_perplexity"))))
        comparisons.append(Comparison("wsj_parsing", with_images, alone, f"with ImageNet against alone, {label}"))
    return ResultTable(
        "partner_settings", "Parsing with ImageNet under other settings",
        ("alone: log-perplexity", "alone: whole sequences", "with ImageNet: log-perplexity", "with ImageNet: whole sequences",
         "ImageNet: log-perplexity"),
        tuple(rows), tuple(comparisons),
        "Does parsing gain nothing from ImageNet because the model is too small, or because of its dropout or its batches?",
    )  # fmt: skip


def _numbers_of_experts(problems) -> ResultTable:
    runs = ["joint", *(f"joint_{more.name}" for more in MORE_EXPERTS)]
    rows = [(problem.label, tuple(Cell(run, problem.name, "log_perplexity") for run in runs)) for problem in problems]
    return ResultTable(
        "experts", "Joint training with more experts", ("8 experts", *(more.label for more in MORE_EXPERTS)), tuple(rows),
        tuple(
            Comparison(problem.name, run, "joint", f"{more.label} against 8")
            for run, more in zip(runs[1:], MORE_EXPERTS) for problem in problems
        ),
        "Log-perplexity. Each input still uses two experts, so that the cost of an update hardly grows.",
    )  # fmt: skip


def _zero_shot(problems) -> ResultTable:
    rows = []
    for name, label in PAIRS.items():
        metric = _decoded(name)
        runs = ("zero_shot", _tuned(name))
        cells = [Cell(run, name, which) for which in ("log_perplexity", metric) for run in runs]
        through = Cell("zero_shot", name, f"{metric}_pivot")
        row = (*cells[:2], Cell(CHANCE, name, metric), cells[2], through, cells[3])
        rows.append((f"{label} ({_METRIC_NAMES[metric]})", row))
    return ResultTable(
        "zero_shot", "Commands with inputs with which they were never trained",
        ("zero-shot: log-perplexity", "fine-tuned: log-perplexity", "chance: decoded", "zero-shot: decoded",
         "through English: decoded", "fine-tuned: decoded"),
        tuple(rows), tuple(Comparison(n, _tuned(n), "zero_shot", "200 examples of fine-tuning") for n in PAIRS),
        "Fine-tuning starts from the weights of the joint run and uses 200 examples of the pair. Chance is a copy of "
        "the source if that is text, and otherwise the most frequent answer. Through English, the joint model first answers "
        "in English and then translates or parses its own answer, which takes two pairs that were trained.",
        ("joint",),
    )  # fmt: skip


def _decoded(pair: str) -> str:
    return "f1" if pair.endswith("tree") else "cider" if pair.startswith("caption") else "bleu"


def _evaluations(option: ZeroShotOption) -> list[tuple[str, tuple[str, ...]]]:
    """Returns (name, bindings) of the runs that evaluate the weights of an option."""
    name = f"zero_shot_{option.name}"
    return [(name, ()), (f"{name}_from_mean", _FROM_MEAN)] if option.also_from_mean else [(name, ())]


def _zero_shot_options() -> ResultTable:
    # The run that is evaluated, the run that was trained, and the label.
    options = [("zero_shot", "joint", "command at the start")]
    for option in ZERO_SHOT:
        for name, bindings in _evaluations(option):
            options.append((name, f"joint_{option.name}", f"{option.label}{', from the mean' * bool(bindings)}"))
    rows: list[tuple[str, tuple[Cell | float, ...]]] = []
    for name, label in PAIRS.items():
        metric = _decoded(name)
        row = (Cell(CHANCE, name, metric), *(Cell(run, name, metric) for run, _, _ in options))
        rows.append((f"{label} ({_METRIC_NAMES[metric]})", row))
    # What an option costs the pairs that are trained.
    for problem in PROBLEMS:
        cells = [Cell(joint, problem.name, "log_perplexity") for _, joint, _ in options]
        rows.append((f"{problem.label} (log-perplexity; trained)", (Cell(CHANCE, problem.name, "log_perplexity"), *cells)))
    return ResultTable(
        "zero_shot_options", "Ways to make pairs work with which the model was never trained",
        ("chance", *(label for _, _, label in options)), tuple(rows),
        tuple(
            Comparison(name, run, "zero_shot", f"{label} against the command at the start alone")
            for run, _, label in options[1:] for name in PAIRS
        ),
        "Each column between chance and the last two is a joint training of its own on the paper's eight problems; with "
        "autoencoders, the model also learns to restore noised sentences of each language. The last two columns are one "
        "further training, which goes on from the newest weights of the column before them with two additions: half of the "
        "texts are generated from the mean of the encoded input alone, and 200 German and 200 French captions are restored "
        "without their images. In the last column, the trained model answers the pairs from the mean; the problems that are "
        "trained are measured from the positions in both.",
    )  # fmt: skip


METRIC_OF_PAIRS = "log_perplexity"


def pair_runs(problems: Sequence[str]) -> dict[tuple[str, str], str]:
    """Returns (problem, partner) -> the name of the run that trains the two together, for all problems and partners."""
    pairs = itertools.combinations(problems, 2)
    return {ordered: _pair(*pair) for pair in pairs for ordered in (pair, pair[::-1])}


def _pairs(problems) -> ResultTable:
    names = [problem.name for problem in problems]
    runs = pair_runs(names)

    def cell(name, other):
        return Cell(runs.get((name, other), _brief(name)), name, METRIC_OF_PAIRS)

    return ResultTable(
        "pairs", "Which problems help which",
        tuple(f"with {problem.label}" for problem in problems),
        tuple((problem.label, tuple(cell(problem.name, other) for other in names)) for problem in problems),
        tuple(
            Comparison(name, cell(name, other).run, _brief(name), f"with {other} against alone")
            for name in names for other in names if name != other
        ),
        "Each row is the log-perplexity of one problem after 400 updates together with each other problem; on the diagonal, it "
        "is alone.",
    )  # fmt: skip


_METRIC_NAMES = {
    "wer": "WER", "top1": "top-1", "top5": "top-5", "cider": "CIDEr-D", "bleu4": "BLEU-4", "f1": "F1", "bleu": "BLEU",
    "log_perplexity": "log-perplexity", "token_accuracy": "accuracy", "sequence_accuracy": "whole-sequence accuracy",
}  # fmt: skip


def metric_name(metric: str) -> str:
    """Returns the usual spelling of a metric's name."""
    return _METRIC_NAMES.get(metric, metric)
