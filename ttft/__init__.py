"""ttft: how much sooner does the first token come from endpoint A than from endpoint B, and why.

Usable alone on any TGI or OpenAI-compatible endpoint: `python -m ttft URL [URL ...]`. Knows nothing of Pulumi or AWS.
"""
