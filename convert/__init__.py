"""Floor 4: a trained run -> a .tflite that an app can embed, with the proof that it is right."""
