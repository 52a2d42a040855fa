"""Floor 2: measure size, latency, memory, accuracy and parity. No TensorFlow, no pandas."""
