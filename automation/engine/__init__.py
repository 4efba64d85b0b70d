"""The engine and its runs: how it is started, followed, stopped and explained; what a stack of this project is to it."""
