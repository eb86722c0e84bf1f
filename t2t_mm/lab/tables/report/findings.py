"""Answers the questions of the paper from the comparisons of a report, on a page of their own and at the top of the report."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from t2t_mm.lab.results import circumstances
from t2t_mm.lab.tables import statistics
from t2t_mm.lab.tables.report.figures import number
from t2t_mm.lab.tables.tables import (
    CHANCE,
    CLASSES_WITHOUT_ATTENTION,
    OTHER_SETTINGS,
    PARSING_WITH_IMAGENET,
    PROBLEMS,
    VARIANTS,
    curve_runs,
)
from t2t_mm.spelling import counted

_LABELS = {problem.name: problem.label for problem in PROBLEMS}
_TRANSLATIONS = tuple(problem.name for problem in PROBLEMS if problem.name.startswith("wmt_"))
_METRIC = "log_perplexity"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A comparison that helps to answer a question.

    Attributes:
      label: what is compared, for the reader.
      problem, run, other: see `tables.Comparison`.
    """

    label: str
    problem: str
    run: str
    other: str


@dataclasses.dataclass(frozen=True)
class Combined:
    """A weighted sum of log-perplexities that helps to answer a question.

    Attributes:
      label: what is summed, for the reader.
      terms: (weight, problem, run) of each log-perplexity.
    """

    label: str
    terms: tuple[tuple[float, str, str], ...]


@dataclasses.dataclass(frozen=True)
class PaperQuestion:
    """A question that the paper answers.

    Attributes:
      text: the question, to be answered with yes or no.
      paper: what the paper says.
      evidence: the comparisons that answer it.
      yes_if_lower: whether the answer is yes if the log-perplexity of `run` is lower than that of `other`, or the sum of
        `combined` below 0.
      combined: sums that answer it, too.
      note: what the reader has to know besides.
    """

    text: str
    paper: str
    evidence: tuple[Evidence, ...]
    yes_if_lower: bool = True
    combined: tuple[Combined, ...] = ()
    note: str = ""


def _alone(problem: str) -> str:
    return f"alone_{problem}"


def questions() -> list[PaperQuestion]:
    """Returns the questions, in the order of the paper."""
    by_size = curve_runs()

    def by_trees(run):
        return tuple(
            Evidence(f"parsing with {label}", "wsj_parsing", f"{run}{suffix}", f"alone_wsj_parsing{suffix}")
            for label, suffix in by_size
        )

    with_settings = [
        Evidence(
            f"parsing with 1,000 trees, {setting.label}", "wsj_parsing",
            f"{PARSING_WITH_IMAGENET}_{setting.name}", f"alone_wsj_parsing_{setting.name}",
        )
        for setting in OTHER_SETTINGS
    ]  # fmt: skip
    scarce = [Evidence(_LABELS[name], name, "joint", _alone(name)) for name in ("wsj_speech", "coco")]
    plenty = [Evidence(_LABELS[name], name, "joint", _alone(name)) for name in ("imagenet", *_TRANSLATIONS)]
    translations = Combined(
        "mean of the four translations",
        tuple(
            (weight / len(_TRANSLATIONS), name, run)
            for name in _TRANSLATIONS for weight, run in ((1.0, "joint"), (-1.0, _alone(name)))
        ),
    )  # fmt: skip
    (fewest, few), *_, (most, many) = by_size
    steeper = Combined(
        f"the difference with {fewest} minus that with {most.removesuffix(' trees')}",
        (
            (1.0, "wsj_parsing", f"joint{few}"), (-1.0, "wsj_parsing", f"alone_wsj_parsing{few}"),
            (-1.0, "wsj_parsing", f"joint{many}"), (1.0, "wsj_parsing", f"alone_wsj_parsing{many}"),
        ),
    )  # fmt: skip
    of_images = [
        Evidence(f"ImageNet, {variant.label}", "imagenet", _alone("imagenet"), f"{_alone('imagenet')}_{variant.name}")
        for variant in VARIANTS
    ]
    of_mixture = [Evidence(f"{_LABELS[name]}, jointly", name, "joint", "joint_without_mixture") for name in _LABELS] + [
        Evidence(f"{_LABELS[name]}, alone", name, _alone(name), f"{_alone(name)}_without_mixture")
        for name in ("imagenet", "wmt_en_fr")
    ]
    return [
        PaperQuestion(
            "Does joint training help problems with little data?",
            "Parsing improves from 0.20 to 0.15 nats and from 11.7 to 14.5% of whole sentences (Table 3).",
            (*by_trees("joint"), *scarce),
        ),
        PaperQuestion(
            "Does parsing gain more from joint training when there are fewer trees?",
            "It does not vary the number of trees, but concludes that problems with little data benefit most.",
            (), combined=(steeper,),
        ),
        PaperQuestion(
            "Does joint training cost the problems with much data?",
            "It costs little: ImageNet 1.6 to 1.7 nats, EN→DE 1.4 and 1.4 (Table 2).",
            tuple(plenty), yes_if_lower=False, combined=(translations,),
        ),
        PaperQuestion(
            "Does an unrelated partner, ImageNet, help parsing?",
            "Yes, from 0.20 to 0.16 nats (Table 3).",
            (*by_trees(PARSING_WITH_IMAGENET), *with_settings),
            note="The weights of a run with ImageNet are those with the best mean of both problems, and the weights of parsing "
            "alone those that are best for parsing. This favours parsing alone, most of all with few trees, which both runs "
            "soon learn by heart.",
        ),
        PaperQuestion(
            "Does a block made for another domain hurt ImageNet?",
            "No: without mixture or attention, it is not better (Table 4).",
            tuple(of_images), yes_if_lower=False, note=CLASSES_WITHOUT_ATTENTION,
        ),
        PaperQuestion(
            "Is the mixture-of-experts worth its parameters?",
            "It is for EN→FR, 1.2 against 1.3 nats without it; for ImageNet, it makes no difference (Table 4).",
            tuple(of_mixture),
        ),
    ]  # fmt: skip


def findings(
    tables: Sequence[dict], examples: Callable | None = None, experts: Mapping = MappingProxyType({}),
    runs: Mapping = MappingProxyType({}),
) -> list[dict]:  # fmt: skip
    """Answers the questions from the tables of a report, as `gather` returns them.

    Args:
      examples: (run, split, problem, figure) -> ratios of sums, see `gather.Scores.examples`. None measures no sums.
      experts, runs: these parts of the report.

    Returns:
      For each question {"question", "paper", "evidence", "answer", "note"}. Each piece of evidence has a "label" and the
      "verdict" yes, no or undecided: yes or no only if the 95% interval of the difference excludes 0; it is "not measured" if
      one of the two runs is missing. The answer is the common verdict, with a reservation if some are undecided, or "mixed".
      The note may be empty; that of the last finding about the paper is `use_of_experts`. If it has been measured, the
      finding of `never_trained` comes after those about the paper.
    """
    measured = {
        (found["problem"], found["run"], found["other"]): found
        for table in tables for found in table["comparisons"] if found["metric"] == _METRIC
    }  # fmt: skip
    found = [_answered(question, measured, examples) for question in questions()]
    found[-1]["note"] = use_of_experts(experts, runs)
    beyond = never_trained(tables)
    return [*found, beyond] if beyond else found


def _sum(combined: Combined, examples: Callable | None) -> dict | None:
    """Returns a sum with its interval, or None if one of its runs is missing."""
    groups: dict[str, list[statistics.Term]] = {}
    for weight, problem, run in combined.terms:
        # Of a run with more seeds, the seeds are as many for each problem.
        side = examples(run, "dev", problem, _METRIC) if examples else []
        if not side:
            return None
        groups.setdefault(problem, []).append((weight, run, side))
    return dataclasses.asdict(statistics.combined_difference(list(groups.values())))


def use_of_experts(experts: Mapping, runs: Mapping) -> str:
    """Returns a sentence on the parameters of the mixtures, and on how many experts the problems use and share."""
    if not {"joint", "joint_without_mixture"} <= set(runs) or not experts:
        return ""
    parts = []
    for name, found in experts.items():
        shares = [np.asarray(share) for share in found["shares"].values()]
        effective = np.mean([math.exp(-float(np.sum(share * np.log(np.maximum(share, 1e-12))))) for share in shares])
        pairs = [row[other]["mean"] for one, row in found["overlap"].items() for other in row if other != one]
        shared = f"; two problems share {np.mean(pairs):.0%} of their gates" if pairs else ""
        parts.append(f"in the {name}, a problem uses {effective:.1f} of {len(shares[0])} experts{shared}")
    more, fewer = (runs[name]["parameters"] for name in ("joint", "joint_without_mixture"))
    return (
        f"The joint model has {more:,} parameters, and {fewer:,} without the mixtures. On average, {', and '.join(parts)}. "
        "(The number of used experts is the exponential of the entropy of a problem's gates on dev, in the first seed.)"
    )


def never_trained(tables: Sequence[dict]) -> dict | None:
    """Answers whether pairs of input and command work that were never trained, from the tables of the zero-shot pairs.

    The verdict on a pair is yes if the best way to train the model and to answer with it reaches half of what the model reaches
    through English (`t2t_mm.evaluation.pivot`), "partly" if it reaches a tenth, and otherwise no. It is also no if the answers
    are worse than the trivial ones.

    Returns:
      A finding as those of `findings`, or None if no pair has been measured both ways. Its evidence has "figures": [way, mean
      on dev, number of seeds], best first; "joint", the mean of the joint run as it is, or None if this is the best way
      or was not measured; "chance" and "through_english"; and "metric".
    """
    by_name = {table.get("name"): table for table in tables}
    through = {
        row["label"]: cell["dev"]["mean"]
        for row in by_name.get("zero_shot", {"rows": ()})["rows"] for cell in row["cells"]
        if isinstance(cell, dict) and cell["metric"].endswith("_pivot") and cell["dev"]
    }  # fmt: skip
    evidence = []
    options = by_name.get("zero_shot_options", {"rows": (), "columns": ()})
    for row in options["rows"]:
        if row["label"] not in through:
            continue
        measured = [(way, cell) for way, cell in zip(options["columns"], row["cells"]) if cell["dev"]]
        ways = [[way, cell["dev"]["mean"], cell["dev"]["seeds"]] for way, cell in measured if cell["run"] != CHANCE]
        chance = [cell["dev"]["mean"] for _, cell in measured if cell["run"] == CHANCE]
        joint = [cell["dev"]["mean"] for _, cell in measured if cell["run"] == "zero_shot"]
        if not ways or not chance:
            continue
        ways.sort(key=lambda way: -way[1])
        share = ways[0][1] / max(through[row["label"]], 1e-9) if ways[0][1] > chance[0] else 0.0
        evidence.append({
            "label": row["label"], "verdict": "yes" if share >= 0.5 else "partly" if share >= 0.1 else "no",
            "figures": ways, "joint": joint[0] if joint and ways[0][1] != joint[0] else None, "chance": chance[0],
            "through_english": through[row["label"]], "metric": measured[0][1]["metric"],
        })  # fmt: skip
    if not evidence:
        return None
    verdicts = {one["verdict"] for one in evidence}
    return {
        "question": "Does the model answer pairs of input and command that were never trained?",
        "paper": "It does not ask.",
        "evidence": evidence,
        "answer": verdicts.pop() if len(verdicts) == 1 else "mixed",
        "note": "“Yes” means that the best variant reaches at least half of the score of two answers through English, and "
        "“partly” that it reaches at least a tenth. In both cases it is better than the trivial answer, which is a copy of the "
        "source, the most frequent answer or a right-branching tree. The tables have all variants.",
    }


def _answered(question: PaperQuestion, measured: dict, examples: Callable | None) -> dict:
    evidence = []
    every: list[Evidence | Combined] = [*question.evidence, *question.combined]
    for one in every:
        if isinstance(one, Combined):
            found = _sum(one, examples)
        else:
            found = measured.get((one.problem, one.run, one.other))
        if found is None:
            evidence.append({"label": one.label, "verdict": "not measured"})
            continue
        lower, higher = found["high"] < 0, found["low"] > 0
        verdict = "undecided" if not (lower or higher) else "yes" if lower == question.yes_if_lower else "no"
        kept = {key: found[key] for key in ("difference", "low", "high", "seeds")}
        evidence.append({"label": one.label, "verdict": verdict} | kept)
    return {
        "question": question.text, "paper": question.paper, "evidence": evidence,
        "answer": _common({one["verdict"] for one in evidence}), "note": question.note,
    }  # fmt: skip


def _common(verdicts: set[str]) -> str:
    verdicts = verdicts - {"not measured"}
    decided = verdicts - {"undecided"}
    if len(decided) > 1:
        return "mixed"
    if not decided:
        return "undecided" if verdicts else "not measured"
    # One that is undecided does not contradict the others, but the answer then holds for fewer of them.
    return f"{decided.pop()} (apart from what is undecided)" if len(verdicts) > 1 else decided.pop()


def sentences(found: dict) -> list[str]:
    """Returns one line for each piece of evidence of a finding."""
    lines = []
    for one in found["evidence"]:
        if one["verdict"] == "not measured":
            lines.append(f"{one['label']}: not measured yet.")
            continue
        if "figures" in one:
            shown = functools.partial(number, metric=one["metric"])
            way, mean, seeds = one["figures"][0]
            best = f"{shown(mean)} with the best variant ({way}; {counted(seeds, 'seed')})"
            of_joint = f", {shown(one['joint'])} with the joint run" if one["joint"] is not None else ""
            ends = f"{shown(one['chance'])} with a trivial answer, {shown(one['through_english'])} through English"
            lines.append(f"{one['label']}: {one['verdict']}; {best}{of_joint}, {ends}.")
            continue
        first, second = one["seeds"]
        lines.append(
            f"{one['label']}: {one['verdict']}; {one['difference']:+.3f} nats per token, 95% interval {one['low']:+.3f} to "
            f"{one['high']:+.3f} ({first} and {second} seed{'s' * (first + second > 2)})."
        )
    return lines


NOTE = (
    "Differences of log-perplexity on dev; a negative one is better. “Yes” and “no” are only said if the interval, over "
    "examples and seeds, excludes 0, without a correction for the number of comparisons (the tables have Holm's); with one "
    "seed, it covers the examples alone. Each line compares joint training with training alone, parsing with a partner with "
    "parsing alone, or the model with a block with the model without it."
)


MINI = (
    "All figures are from models of the mini size (d = 128) on the synthetic mini corpora: ImageNet, WSJ, COCO and WMT are the "
    "names of the corpora that these stand for."
)


def markdown(found: Sequence[dict]) -> list[str]:
    """Returns the lines of a Markdown page that show the findings."""
    lines = [NOTE, ""]
    for one in found:
        lines += [f"**{one['question']}** {one['answer'].capitalize()}.", "", f"The paper: {one['paper']}", ""]
        lines += [*(f"- {line}" for line in sentences(one)), ""]
        lines += [one["note"], ""] if one["note"] else []
    return lines


def page(record: dict) -> str:
    """Renders the page of the findings from a record of `results.write_results`."""
    head = ["# What the paper found, measured again", "", f"Written by `{record['command']}` {circumstances(record)}", ""]
    if record["results"].get("corpora") == "mini":
        head += [MINI, ""]
    return "\n".join([*head, *markdown(record["results"]["findings"])]).rstrip() + "\n"
