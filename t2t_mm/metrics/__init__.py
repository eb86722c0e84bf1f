"""Metrics: functions from (answers, examples) to {name: value}. If a set has nothing to count, they return {}."""
