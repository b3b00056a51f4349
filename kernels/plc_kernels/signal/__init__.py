"""Signal kernels: prediction, levels, noise, passages, crossfades; arrays in, arrays out."""
