"""Data sets that tensorflow-datasets lacks. Its tools take them by file, for instance

    tfds build t2t_mm/corpora/tfds_builders/wsj_parsing.py --manual_dir=/corpora/ptb --data_dir=/corpora/tfds
"""
