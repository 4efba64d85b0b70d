"""What `make demo` does: `python -m automation.demo`. Nothing else of the project needs it."""
