"""The grid of the networks that fill a stroke of a log-magnitude spectrogram of speech [1]_.

At 24 kHz, frames of a Hann window of 128 samples every 64: the bins and columns that the document
has at 48 kHz with twice the numbers. The lowest 64 bins make a patch. Magnitudes are those of 16-bit
samples, divided by the sum of the window; of them the natural logarithm is normalised with the
document's constants.

References
----------
.. [1] github.com/iamhectorotero/generative-audio-inpainting: libraries/mlp.
"""

SAMPLE_RATE = 24_000
"""In Hz; the networks know no other."""
WINDOW_SAMPLES, HOP_SAMPLES = 128, 64
BINS = 64
"""From 0 Hz to below 12 kHz."""
LOG_MEAN, LOG_DEVIATION = 0.4385, 2.4214
"""Of the natural logarithm of the document's magnitudes."""
LEAST_MAGNITUDE = 1e-3
"""What stands for silence: below the rounding of 16-bit samples, about 0.03."""
