"""Mutation testing: small faults are planted in the code one at a time, and the tests must notice each of them.

The usual tools (mutmut, cosmic-ray) run one command for every mutant. Here a command costs the import of TensorFlow, and a
whole test file minutes. So a process that has imported the libraries forks for each mutant (`worker.py`), the lines that
each test runs are written down once (`traces.py`), and a mutant is shown only the tests that run its line, until one of
them fails (`run.py`).
"""
