"""When a picture cannot be assessed: a small head on the network, limits of integers, and where both come from."""
