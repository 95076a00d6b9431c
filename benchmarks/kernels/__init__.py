"""Kernels and networks on their own, beside their peers."""
