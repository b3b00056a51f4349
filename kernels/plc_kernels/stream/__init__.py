"""One stream's whole step on one block of memory: packets in, concealed packets out.

The modules in the order in which a packet passes them::

    layout       what stands where in the block
    queue        the packets that the stream waits for, and their missing parts
    fill_limit   how loud a concealment may be
    background   comfort noise, and what the content is
    step         what is done for each part, and one call a packet
    received     RECEIVED: a part as it came; RECOVER: the crossfade into the first of them
    extend       EXTEND: linear prediction; extend_network, extend_music: what improves it
    bridge       BRIDGE: prediction from both sides, and what improves it
    noise        NOISE: comfort noise, the fade into it, and noise of a burst's bands
    networks     which networks a stream has, and the fill of a part by them
    entry        the step for callers in C and WebAssembly
"""
