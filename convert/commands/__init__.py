"""The commands of this floor: they parse, call and print."""
