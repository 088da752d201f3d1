"""Programs that show the library at work; each runs as `python -m tapegrad.examples.<name>`.

`command_line` is what they share.
"""
