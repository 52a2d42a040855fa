"""Which engines may run a model: each in a process of its own, on golden and labelled pictures, with a verdict."""
