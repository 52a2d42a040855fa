"""Networks: backbones, small networks, heads, and weights from files."""
