"""Denoising autoencoders of single languages, for zero-shot translation.

A joint model only sees German together with To-English, and French as the output of English only, so it may answer a German
text in English whatever the command is. With these problems, it is trained to write German from German and French from French.
They share the commands of the translations, so that a command stands for a language and not for a pair of languages (Johnson
et al. 2017, arXiv 1611.04558; Lample et al. 2018, arXiv 1711.00043). They need no text beyond that of the translations.

A model that is to describe images in German must also know how Germans describe images. For this, the targets of a problem
can be restored without its inputs: captions without their images.
"""

from collections.abc import Sequence

from t2t_mm.corpora.example import DeclarationError
from t2t_mm.corpora.noised_text import NoisedText
from t2t_mm.corpora.parallel_text import ParallelText
from t2t_mm.metrics.translation import bleu
from t2t_mm.problem import Problem
from t2t_mm.problems.paper import COMMANDS


def autoencoder(language: str, sources: Sequence[ParallelText], drop: float = 0.1, distance: int = 3) -> Problem:
    """Declares the restoration of sentences in English ("en"), German ("de") or French ("fr") from their noised form.

    Args:
      sources: the parallel texts with this source language, whose sentences are used.
      drop, distance: the strength of the noise, see `NoisedText`.
    """
    source = NoisedText(sources, drop, distance)
    return Problem(f"autoencoder_{language}", source, "language", "text", COMMANDS[language], (bleu,))


def restored(problem: Problem, drop: float = 0.1, distance: int = 3) -> Problem:
    """Declares the restoration of the targets of a problem, for instance of captions, from their noised form.

    Its name is `restored_` and the name of the problem, whose command it has. The model does not see the inputs of the problem,
    but some sources, such as `CocoCaptions`, need their files to be there.

    Args:
      problem: a problem whose targets are text.
      drop, distance: the strength of the noise, see `NoisedText`.

    Raises:
      DeclarationError: its targets are no text, or the noise is out of range.
    """
    if problem.targets != "text":
        raise DeclarationError(
            f"{problem.name}: its targets are of the kind {problem.targets!r}, and only text can be restored."
        )
    source = NoisedText([problem.source], drop, distance, side="targets")
    return Problem(f"restored_{problem.name}", source, "language", "text", problem.command, (bleu,))


def with_autoencoders(
    problems: Sequence[Problem],
    languages: Sequence[str] = ("en", "de", "fr"),
    drop: float = 0.1,
    distance: int = 3,
    more: Sequence[Problem] = (),
) -> list[Problem]:
    """Returns the problems of a run and an autoencoder for each language, on the sentences of their translations.

    Args:
      problems: the problems of the run, among them a translation from each of the languages, whose files are read.
      languages: the languages of the autoencoders.
      drop, distance: the strength of the noise, see `NoisedText`.
      more: problems that are not trained, but whose targets are restored as well, see `restored`.

    Raises:
      DeclarationError: no problem translates from one of the languages, the targets of one of `more` are no text, or the noise
        is out of range.
    """
    texts = [problem.source for problem in problems if isinstance(problem.source, ParallelText)]
    found = list(problems)
    for language in languages:
        sources = [source for source in texts if source.source_language == language]
        if not sources:
            known = ", ".join(sorted({source.source_language for source in texts})) or "no language"
            raise DeclarationError(
                f"autoencoder_{language}: no problem translates from {language!r}; the problems of this run translate from "
                f"{known}. Change `languages`, or add a translation."
            )
        found.append(autoencoder(language, sources, drop, distance))
    return found + [restored(problem, drop, distance) for problem in more]
