"""From rows to batches: what an epoch shows, how it is augmented, cached and decoded."""
