"""Feed histories from a file through the real engine, without a server: a bug report is a file.

`steps` reads the file, `play` takes its steps to a `book` (the store in memory), `report` says where it ends; these are
pure. `show` is the command around them.
"""
