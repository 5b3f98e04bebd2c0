"""What a search shows: its table, its pictures, and whether λ does what it should.

`report` writes a run folder's results, `diagnostics` looks along λ, `cell_graph` draws cells,
`front_plot` fronts, `page` puts report.html together from `web/`, `compare` a page about several
runs, `style` is what all pictures share.
Names for others: `write_report`, `read_rows`, `diagnose`, `draw_genotype`, `draw_front`.
"""
