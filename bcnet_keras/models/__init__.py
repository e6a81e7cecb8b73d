"""Keras models: the pair (`BCNet`), the nets of the data sets, and the twins of a user's own float model."""
