"""Modality nets: into and out of the unified representation (paper, 2.5). One each, shared by all problems.

Beside each net into it stands the declaration of its modality (`modality.py`), which also says how an example becomes an
array (`features.py`) and how a batch is padded. `joining.py` makes one sequence of several inputs.
"""
