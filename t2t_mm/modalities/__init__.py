"""Modality nets, which map to and from the unified representation (paper, 2.5). All problems share them.

Each input net comes with the declaration of its modality (`modality.py`), which also defines how an example becomes an
array (`features.py`) and how a batch is padded. `joining.py` joins several inputs to one sequence.
"""
