"""Hostile input, measured: mutated images and mutated model files, thousands of each.

    python -m studies.hostile [MODEL...] [--images 10000] [--models 2000] [--seed 42] [--json]
        [--out DIR]
    python -m studies.hostile --case model-17 --out DIR

Every case must end in an answer or in one clear line (a SkinEdgeError). Bad is any other exception, a crash of the
process, a hang, more than 1 GiB of memory, an answer that is not finite or does not fit the labels, and a message of
several lines or with control characters.

A case is made from (seed, number) alone, so that it can be made again: with the same version of Pillow and the same
seed models, which are the packaged one and each MODEL. The cases run one after the other in a child process. Where it
dies or hangs, the case it was given last is to blame, and a new child goes on.
"""
