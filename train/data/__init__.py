"""Labelled pictures: layouts, labels, duplicates, groups, splits, and what is wrong with a data set."""

import pandas as pd

# Where pyarrow happens to be installed, pandas would keep texts in it, and it cannot hold names that are not UTF-8.
pd.set_option("mode.string_storage", "python")
