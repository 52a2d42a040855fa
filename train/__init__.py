"""Floor 3: labelled images -> a trained run."""
