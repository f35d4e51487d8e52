"""Keras, imported quickly: whoever needs it takes it from here.

Python's garbage collector looks through all that the import makes, again and again, and finds nothing to free: that is a
fifth of the import's time (`benchmarks/RESULTS.md`).
"""

import gc

_was_on = gc.isenabled()
gc.disable()
try:
    import keras as keras
    from keras import layers as layers
    from keras import ops as ops
finally:
    if _was_on:
        gc.enable()
gc.freeze()  # what is there now stays: no later collection looks at it
