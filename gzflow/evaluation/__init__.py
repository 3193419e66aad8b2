"""How good a model is, in numbers, pictures and one page."""
