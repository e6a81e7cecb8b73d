"""Experiments that compare a cooperative pair with its baselines over several seeds."""
