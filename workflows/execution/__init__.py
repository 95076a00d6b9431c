"""Execution: tasks are started when they can be, tried again, and given up."""
