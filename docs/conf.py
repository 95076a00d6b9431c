"""The site of these pages: `make docs`."""

project = "petavox"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "petavox"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
highlight_language = "none"  # blocks without a language are commands, their output and TOML
myst_heading_anchors = 4  # links to headings are checked, as those to pages are
