"""The files that come with the package beside its modules: the commands of bin/ and the configurations of gin/."""

import os


def folder() -> str:
    """The folder that holds `bin/` and `gin/`: the top of a checkout, or a folder inside an installed package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "_shipped")
    return installed if os.path.isdir(installed) else os.path.dirname(package)


def bin_folder() -> str:
    """The folder of the commands."""
    return os.path.join(folder(), "bin")
