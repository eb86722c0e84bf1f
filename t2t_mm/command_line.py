"""The console command `t2t-mm`: `t2t-mm train --gin_file=…` is equivalent to `python bin/train.py --gin_file=…`."""

import ast
import os
import runpy
import sys

import t2t_mm
from t2t_mm.common import command, shipped
from t2t_mm.spelling import near

_ONLY_IN_A_CHECKOUT = ("mutate",)  # it needs the tests


def commands() -> dict[str, str]:
    """Returns a dict of command name -> first line of its description."""
    found = {}
    for file in sorted(os.listdir(shipped.bin_folder())):
        if file.endswith(".py") and file.removesuffix(".py") not in _ONLY_IN_A_CHECKOUT:
            with open(os.path.join(shipped.bin_folder(), file), encoding="utf-8") as source:
                described = ast.get_docstring(ast.parse(source.read())) or ""
            found[file.removesuffix(".py")] = described.partition("\n")[0]
    return found


def usage() -> str:
    """Returns the text of `t2t-mm --help`."""
    known = commands()
    width = max(map(len, known))
    lines = [f"  {name:{width}}  {described}" for name, described in known.items()]
    return "\n".join(["Usage: t2t-mm COMMAND [FLAGS]", "", *lines, "", "t2t-mm COMMAND --help lists the flags of a command."])


def main() -> None:
    """Runs the command named by the first argument in this process.

    Raises:
      SystemExit: there is no such command.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return
    if arguments[0] == "--version":
        print(f"t2t_mm {t2t_mm.__version__}")
        return
    name, known = arguments[0], commands()
    if name not in known:
        raise SystemExit(f"t2t-mm: unknown command {name!r}{near(name, known)}; the commands are {', '.join(known)}.")
    script = os.path.join(shipped.bin_folder(), f"{name}.py")
    os.environ[command.CONSOLE] = "t2t-mm"
    sys.argv = [script, *arguments[1:]]
    runpy.run_path(script, run_name="__main__")
