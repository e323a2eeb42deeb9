"""Chance, the Pareto front, other weightings of the tasks: functions of the record."""
