"""Damage of a recording, found from its samples alone.

:mod:`~plc.restore.detect.search` looks at windows of each channel: samples lost in turn
(``alternate``), constants that a recorder wrote (``constant``), clicks in pauses (``lone``) and in
sound (``clicks``), holes (``dips``) and blocks said again (``repeats``). What is found in the
whole recording is then held against itself (``plausible``, ``rhythm``): a finding that is probably
meant so gets a doubt, and is not filled.
"""
