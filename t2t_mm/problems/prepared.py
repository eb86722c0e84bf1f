"""Problems that read prepared records instead of their corpora."""

import dataclasses
import os
from collections.abc import Sequence

from t2t_mm.input.records import PreparedRecords
from t2t_mm.problem import Problem


def problems(declared: Sequence[Problem], root: str) -> list[Problem]:
    """Returns the declared problems with the records that bin/prepare_data.py wrote to `root` as their sources."""
    return [dataclasses.replace(one, source=PreparedRecords(os.path.join(root, one.name))) for one in declared]
