"""The programs behind the commands: relay, live, demo, doctor.

In come settings that were checked; out come reports. Nothing here parses a command line.
"""
