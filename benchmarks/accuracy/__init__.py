"""A model's answers on labelled pictures, beside its reference and under other preprocessing."""
