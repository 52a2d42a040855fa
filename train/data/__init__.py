"""Labelled pictures: layouts, labels, duplicates, groups, splits, and what is wrong with a data set."""
