"""Renders the report as one self-contained HTML page, with inline styles and plots and without scripts."""

import functools
from html import escape

from t2t_mm.lab import svg
from t2t_mm.lab.results import circumstances
from t2t_mm.lab.tables.report import figures, findings, partners, text
from t2t_mm.lab.tables.tables import metric_name

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
svg text { font: 11px system-ui, sans-serif; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .25em .7em; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 2px solid #888; font-weight: 600; }
small { color: #666; display: block; }
.paper { color: #a04a10; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; }
.strong { font-weight: 600; }
.wide { overflow-x: auto; }
code { background: #f3f3f3; padding: 0 .2em; overflow-wrap: anywhere; }
"""


def html(record: dict) -> str:
    """Renders the record of a report as an HTML page; `text.markdown` renders the same record as Markdown."""
    found = record["results"]
    parts = [_head(record), *_findings(found["findings"])]
    for table in found["tables"]:
        parts += _table(table)
        if table["name"] == "curve" and found["parsing_curve"]:
            parts.append(_parsing_curve(found["parsing_curve"]))
        if table["name"] == "zero_shot":
            parts.append(_grid(found["grid"]))
        if table["name"] == "pairs" and found["partners"]:
            parts += _partners(found["partners"])
    parts += _learning_curves(found["learning_curves"])
    parts += _experts(found["experts"])
    parts += [_runs(found["runs"]), _samples(found["samples"])]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n<title>The paper\'s tables</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(record: dict) -> str:
    missing = record["results"]["missing"]
    left_out = f"<p>{escape(text.left_out(missing))}</p>" if missing else ""
    return (
        f"<h1>The paper's tables</h1>\n<p>Written by <code>{escape(record['command'])}</code> "
        f"{escape(circumstances(record))}</p>\n{left_out}\n<p>{escape(text.LEGEND)}</p>"
    )


def _findings(found: list[dict]) -> list[str]:
    parts = ["<h2>Findings</h2>", f"<p>{escape(findings.NOTE)}</p>"]
    for one in found:
        lines = "".join(f"<li>{escape(line)}</li>" for line in findings.sentences(one))
        parts.append(
            f"<p><b>{escape(one['question'])}</b> {escape(one['answer'].capitalize())}.<br/>"
            f"The paper: {escape(one['paper'])}</p><ul>{lines}</ul>"
        )
        if one["note"]:
            parts.append(f"<p>{escape(one['note'])}</p>")
    return parts


def _rows(rows) -> str:
    return "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)


def _columns(names) -> list[str]:
    return [f"<th>{escape(name)}</th>" for name in names]


def _grid_of(head, rows) -> str:
    return f'<div class="wide"><table>\n{_rows([_columns(head), *rows])}\n</table></div>'


def _table(table: dict) -> list[str]:
    rows = [[f"<td>{escape(row['label'])}</td>", *map(_cell, row["cells"])] for row in table["rows"]]
    parts = [f"<h2>{escape(text.heading(table))}</h2>", f"<p>{escape(table['note'])}</p>" if table["note"] else ""]
    parts.append(_grid_of(["", *table["columns"]], rows))
    if table["comparisons"]:
        parts.append(f"<p>{escape(text.TEST)}</p>")
        for metric in dict.fromkeys(result["metric"] for result in table["comparisons"]):
            parts.append(_intervals(metric, [r for r in table["comparisons"] if r["metric"] == metric]))
        head = ("claim", "problem", "figure", "difference", "95% interval", "p", "examples", "")
        parts.append(_grid_of(head, [_comparison(result) for result in table["comparisons"]]))
    return parts


def _cell(found: dict) -> str:
    if "metric" not in found:
        return f'<td><span class="paper">{figures.paper(found["paper"])}</span></td>'
    shown = escape(figures.with_spread(found["dev"], found["metric"]))
    if found["test"]:
        shown += f"<small>test {escape(figures.with_spread(found['test'], found['metric']))}</small>"
    if found["paper"] is not None:
        shown += f'<small class="paper">paper {figures.paper(found["paper"])}</small>'
    return f"<td>{shown}</td>"


def _comparison(result: dict) -> list[str]:
    shown = functools.partial(figures.number, metric=result["metric"])
    style = ' class="strong"' if result["beyond_noise"] else ""
    cells = (
        result["problem"], metric_name(result["metric"]), shown(result["difference"]),
        f"{shown(result['low'])} to {shown(result['high'])}", f"{result['p']:.4f}", str(result["examples"]),
        figures.significance(result),
    )  # fmt: skip
    return [f"<td{style}>{escape(value)}</td>" for value in (result["claim"], *cells)]


def _intervals(metric: str, results: list[dict]) -> str:
    rows = [(f"{r['claim']}: {r['problem']}", r["difference"], r["low"], r["high"], r["beyond_noise"]) for r in results]
    title = f"Difference in {metric_name(metric)}, 95% intervals (grey: noise)"
    return svg.intervals(title, rows, functools.partial(figures.number, metric=metric))


def _parsing_curve(points: list[dict]) -> str:
    plots = []
    for metric in ("log_perplexity", "sequence_accuracy"):
        series = []
        for colour, run in zip(svg.COLOURS, ("joint", "alone")):
            found = [
                (point["trees"], point[metric]["mean"], point[metric]["half_width"] or 0.0)
                for point in points
                if point["run"] == run
            ]
            if found:
                series.append(svg.Line(run, found, colour))
        plots.append(svg.lines("Parsing, dev", series, "trees", metric_name(metric), log_x=True))
    note = "Bars are 95% t intervals over the seeds, if there are several seeds."
    return f'<div class="plots">{"".join(plots)}</div><p>{note}</p>'


def _grid(cells: list[dict]) -> str:
    commands = list(dict.fromkeys(cell["command"] for cell in cells))
    of = {(cell["input"], cell["command"]): cell for cell in cells}
    rows = []
    for modality in dict.fromkeys(cell["input"] for cell in cells):
        row = [f"<td>{escape(modality)}</td>"]
        for command in commands:
            cell = of.get((modality, command))
            if cell is None:
                row.append("<td>–</td>")
            else:
                row.append("<td>{}<small>{}</small></td>".format(*text.grid_cell(cell)))
        rows.append(row)
    return f"<p>{text.GRID}</p>{_grid_of(['', *commands], rows)}"


def _partners(found: dict) -> list[str]:
    parts = [_matrix(partners.NOTE, found, partners.shown)]
    if found["cosines"]:
        parts += [_matrix(partners.COSINES, found, partners.cosine), f"<p>{escape(partners.correlation(found))}</p>"]
    return parts


def _matrix(note: str, found: dict, cell) -> str:
    names = found["problems"]
    rows = [[f"<td>{escape(value)}</td>" for value in (one, *(cell(found, one, other) for other in names))] for one in names]
    return f"<p>{escape(note)}</p>{_grid_of(['', *names], rows)}"


def _learning_curves(curves: dict) -> list[str]:
    plots = []
    for problem, found in curves.items():
        series = [
            svg.Line(
                f"{curve['run']}, {curve['split']}", [(x, y, 0.0) for x, y in curve["points"]],
                svg.COLOURS[0 if curve["run"] == "joint" else 1], dashed=curve["split"] == "train",
            )
            for curve in found
        ]  # fmt: skip
        plots.append(svg.lines(problem, series, "step", "nats per token"))
    note = "Means over the seeds; during training, only a part of each dev set is evaluated."
    return ["<h2>Learning curves</h2>", f"<p>{note}</p>", f'<div class="plots">{"".join(plots)}</div>'] if plots else []


def _experts(experts: dict) -> list[str]:
    parts = []
    for mixture, found in experts.items():
        problems, shares = list(found["shares"]), list(found["shares"].values())
        names = [str(index) for index in range(len(shares[0]))]
        overlaps = [[found["overlap"][one][other]["mean"] for other in problems] for one in problems]
        parts += [
            f"<h2>Experts of the {escape(mixture)}</h2>",
            "<p>The fraction of its gates that each problem assigns to each expert on dev (first seed), and the "
            "overlap of two problems: the sum of the smaller fractions, averaged over the seeds.</p>",
            svg.heat_map(f"Use of the {mixture}'s experts", problems, names, shares),
            svg.heat_map("Overlap between problems", problems, [name.split("_", 1)[-1] for name in problems], overlaps),
        ]
    return parts


def _runs(runs: dict) -> str:
    rows = [
        [
            f"<td>{escape(name)}</td>", f"<td>{run['steps']}</td>", f"<td>{run['best_step']:.0f}</td>",
            f"<td>{run['seeds']}</td>", f"<td>{run['minutes']}</td>", f"<td>{escape(run['device'])}</td>",
            f"<td>{run['parameters']:,}</td>",
            f"<td>{escape(run['gin'])}</td>",
        ]
        for name, run in runs.items()
    ]  # fmt: skip
    head = ("run", "steps", "scored at step", "seeds", "training minutes", "trained on", "parameters", "own settings")
    return f"<h2>Runs</h2>\n<p>{escape(text.RUNS)}</p>\n{_grid_of(head, rows)}"


def _samples(samples: dict) -> str:
    parts = ["<h2>Samples</h2>"]
    for run, problems in samples.items():
        for problem, found in problems.items():
            if found:
                rows = [[f"<td>{escape(str(sample[key]))}</td>" for key in ("input", "target", "output")] for sample in found]
                parts += [f"<h3>{escape(run)}, {escape(problem)}</h3>", _grid_of(("input", "target", "output"), rows)]
    return "\n".join(parts)
