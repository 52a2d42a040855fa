"""The epochs: steps, losses, checkpoints, and one training on several devices."""
