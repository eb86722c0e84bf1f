"""Reproduces the paper's tables: declares and runs the trainings they need, and writes the report."""
