"""Arithmetic of answers and labels: figures, intervals, thresholds, groups. It reads no model and no file."""
