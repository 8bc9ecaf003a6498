"""Models: found, loaded, sampled, saved.

``hub`` finds a model's files; ``builtin`` fetches those of the built-in models, ``gguf`` converts them. ``loading``
loads a model with its adapter into a ``Policy``, ``lora`` saves the adapter or merges it; ``tokenizer`` encodes and
decodes. ``sampler`` samples rows over the ``kv_cache``, ``vllm_sampler`` by vLLM. ``few_rows`` and ``step_attention``
decode for it by ``loops`` of our own, ``packing`` and ``fused`` are the pass of a training. ``cpu_speed`` measures the
processor, ``processes`` connects those that train together. ``upstream`` holds the private names of other libraries;
``adapters/`` the shipped adapters.
"""
