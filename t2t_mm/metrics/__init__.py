"""Metrics: functions of (answers, examples) -> {name: value}. Of a set in which nothing can be counted they give {}."""
