"""Mutation testing: plants small faults in the code one at a time, and checks that the tests detect each of them.

The usual tools (mutmut, cosmic-ray) run one command for every mutant. Here, each command would have to import TensorFlow, and
a whole test file takes minutes. Therefore a process that has imported the libraries forks for each mutant (`worker.py`), the
lines that each test runs are recorded once (`traces.py`), and a mutant is tested only with the tests that run its line, until
one of them fails (`run.py`).
"""
