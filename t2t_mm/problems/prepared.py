"""Problems on prepared records instead of their corpora."""

import dataclasses
import os
from collections.abc import Sequence

from t2t_mm.input.records import PreparedRecords
from t2t_mm.problem import Problem


def problems(declared: Sequence[Problem], root: str) -> list[Problem]:
    """The declared problems, each with the records that bin/prepare_data.py wrote below `root`."""
    return [dataclasses.replace(one, source=PreparedRecords(os.path.join(root, one.name))) for one in declared]
