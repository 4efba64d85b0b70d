"""A stand-in for the model servers, TGI 2.4 and vLLM: their API, errors and queueing without a model.

Every response carries `x-simulated-by`; the text says that it is simulated. Left out on purpose:
images, grammars, tools, LoRA.
"""
