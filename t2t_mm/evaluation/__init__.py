"""Metrics, trivial baselines, and the evaluation of all problems of a run."""
