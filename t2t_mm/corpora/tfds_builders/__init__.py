"""Builders for data sets that tensorflow-datasets does not include. Pass their files to its tools, for example

tfds build t2t_mm/corpora/tfds_builders/wsj_parsing.py --manual_dir=/corpora/ptb --data_dir=/corpora/tfds
"""
