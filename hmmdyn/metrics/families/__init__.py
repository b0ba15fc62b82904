"""The metrics themselves, a module for each family: pure functions of what they need."""
