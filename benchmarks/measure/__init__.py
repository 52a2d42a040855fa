"""What a model costs on this machine: size, latency, memory, and what makes these figures doubtful."""
