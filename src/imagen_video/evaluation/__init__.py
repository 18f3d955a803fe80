"""Measures of what a cascade made, beside real renders and simple baselines."""
