"""Small helpers: files that appear whole, and silence for noisy libraries."""
