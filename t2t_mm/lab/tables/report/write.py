"""Writes the report of the tables to NAME.json, NAME.md and NAME.html."""

from t2t_mm.common.files import write_whole
from t2t_mm.lab import results
from t2t_mm.lab.tables.report import findings, page, text


def write(path: str, command: str, minutes: float, found: dict, answers: str | None = None) -> list[str]:
    """Writes the content that `gather` found, and returns the paths of the files.

    Args:
      path: path of the report without an extension.
      command: the command line that repeats the report.
      minutes: total minutes of all timed jobs.
      answers: path of a page with the findings alone; None writes none.
    """
    # Runs have different numbers of seeds; the report names all that occur.
    seeds = sorted({int(seed) for scores in found["scores"].values() for seed in scores})
    record = results.write_results(f"{path}.json", command, seeds, minutes, found, render=text.markdown)
    write_whole(f"{path}.html", page.html(record))
    written = [f"{path}{ending}" for ending in (".json", ".md", ".html")]
    if answers is not None:
        write_whole(answers, findings.page(record))
        written.append(answers)
    return written
