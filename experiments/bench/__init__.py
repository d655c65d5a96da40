"""Benchmarks, each a ratio taken in one run: machines are noisy, ratios less so.

    python -m experiments.bench selection [--shape 768,3072] [--density 0.1]
    python -m experiments.bench step [--model base|small|tiny] [--batch 16] [--length 128]
                                     [--dtype bfloat16] [--give-back-memory]
    python -m experiments.bench torch [--model base] [--rules dense,movement,soft_movement]
                                      [--dtype bfloat16] [--peak-tflops 989]
    python -m experiments.bench compile [--model base]
    python -m experiments.bench shrink [--model base] [--density 0.25] [--batch 16] [--length 128]
    python -m experiments.bench plan [--rules movement,soft_movement] [--full-effort]
    python -m experiments.bench sparse [--model base] [--batches 1,8] [--length 128]
                                       [--densities 0.03,0.05,0.1] [--rounds 9]
    python -m experiments.bench pack [--model base] [--density 0.06]
    python -m experiments.bench data [--rows 1000,10000,100000,1000000] [--length 128]
    python -m experiments.bench footprint [--model base] [--density 0.1]
    python -m experiments.bench step_memory [--model base] [--batches 1,8] [--length 128]
                                            [--rules movement] [--batches 8 --mesh fsdp=4]

``selection`` times the exact mask by counting beside ``jnp.sort`` and ``lax.top_k``. ``step`` times
the train step of every rule beside the dense one, alternating the two, and counts page faults, of
which there are many where freed memory is not kept (``--give-back-memory``). It takes the machine's
rates of products and of memory too: the dense step's share of the one, and the least ratio that
follows from the other. ``torch`` times the
steps beside those of the PyTorch trainer (extra ``[torch]``), on a GPU where both have one.
``compile`` times the compilation of a step in a fresh process, with an empty and then a filled
persistent cache. ``shrink`` times a model with random hybrid masks beside its dense and its shrunk
form. ``sparse`` times random zeros in CSR beside dense, int8 and bfloat16 (extra ``[sparse]``).
``pack`` counts bytes instead: a random model, packed in every way, beside the information
bound. ``plan`` compiles BERT-base for a TPU slice and compares the bytes that a pruned and a dense
step move. ``data`` tokenises and reads data sets of growing size, mapped and in memory, and
counts seconds, bytes and memory; 10 million rows take about an hour. ``footprint`` measures the
peak memory of the commands that read a model beside the size of its weights, ``step_memory`` the
memory of a train step by arithmetic beside what XLA allots.

One benchmark per file; `programs` builds the steps that several of them time.
"""
