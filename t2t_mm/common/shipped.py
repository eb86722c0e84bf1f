"""Finds the files of the package that are not modules: the commands in bin/ and the configurations in gin/."""

import os


def folder() -> str:
    """Returns the folder that contains `bin/` and `gin/`: the root of a checkout, or a folder in the installed package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "_shipped")
    return installed if os.path.isdir(installed) else os.path.dirname(package)


def bin_folder() -> str:
    """Returns the folder of the commands."""
    return os.path.join(folder(), "bin")
