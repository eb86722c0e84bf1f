"""NAME.json, NAME.md and NAME.html of the tables."""

from t2t_mm.lab import results
from t2t_mm.lab.tables.report import page, text
from t2t_mm.run.files import write_whole


def write(path: str, command: str, seeds: int, minutes: float, found: dict) -> list[str]:
    """Writes what `gather` found -> the paths of the three files.

    Args:
      path: without ending. seeds: how many. minutes: all that was timed took.
    """
    record = results.write_results(f"{path}.json", command, list(range(seeds)), minutes, found, render=text.markdown)
    write_whole(f"{path}.html", page.html(record))
    return [f"{path}{ending}" for ending in (".json", ".md", ".html")]
