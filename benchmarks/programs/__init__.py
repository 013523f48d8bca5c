"""Programs that a benchmark runs in the site's machines, each given JSON on its standard input.

They run on a machine's own Python, with PyMySQL and nothing else.
"""
