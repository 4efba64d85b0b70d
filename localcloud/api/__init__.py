"""The local cloud's AWS API: moto, in process, made to refuse what AWS refuses."""
