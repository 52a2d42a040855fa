"""The RUN folder, and the runs before it that a training learns from."""
