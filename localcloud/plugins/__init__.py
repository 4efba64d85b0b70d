"""Provider plugins of the local cloud: `aws` over an emulated AWS, `command` over real SSH.

They speak the wire of the official plugins to the official engine. They leave out what the stack program does
not use, and say so when it is asked for, instead of accepting an input and dropping it.
"""
