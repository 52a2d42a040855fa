"""What a microcontroller needs of a model: memory, flash, operators, and Arm's NPUs for such chips."""
