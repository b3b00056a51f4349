"""One stream's whole step on one block of memory: packets in, concealed packets out.

The modules in the order in which a packet passes them::

    layout       what stands where in the block
    queue        the packets that the stream waits for, and their missing parts
    fill_limit   how loud a concealment may be
    background   comfort noise, and what the content is
    prediction   linear prediction, forwards and from both sides
    step         all of it: one call a packet
    entry        the same for callers in C and WebAssembly
"""
