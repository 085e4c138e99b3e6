"""The gates of Dupont et al. 2021: equations, kernels, schedules, and how they get into a network."""
