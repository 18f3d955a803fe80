"""The diffusion mathematics: schedule, conversions, losses, noise, guidance, samplers.

Pure functions and frozen dataclasses over tensors; nothing here knows a network. Time `t` runs from
0 (clean) to 1 (pure noise). Import from the modules; this file imports nothing.
"""
