"""Beside train: a model answers people, in a browser and over HTTP. No TensorFlow, no pandas."""
