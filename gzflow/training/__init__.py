"""Fitting a model to volunteers' votes."""
