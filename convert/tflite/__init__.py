"""The .tflite file: its bytes, its operators, and what it says of itself."""
