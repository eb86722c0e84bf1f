"""NAME.json, NAME.md and NAME.html of the tables."""

import json

from t2t_mm import results
from t2t_mm.experiments.report import page, text
from t2t_mm.files import write_whole


def write(path: str, command: str, seeds: int, minutes: float, found: dict) -> list[str]:
    """Writes what `gather` found -> the paths of the three files.

    Args:
      path: without ending. seeds: how many. minutes: all that was timed took.
    """
    results.write_results(f"{path}.json", command, list(range(seeds)), minutes, found, render=text.markdown)
    with open(f"{path}.json", encoding="utf-8") as file:
        record = json.load(file)
    write_whole(f"{path}.html", page.html(record))
    return [f"{path}{ending}" for ending in (".json", ".md", ".html")]
