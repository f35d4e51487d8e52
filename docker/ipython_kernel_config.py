"""For the kernels of the image's notebooks."""

c = get_config()  # noqa: F821 - IPython gives it
c.InlineBackend.figure_formats = {"retina"}  # twice the pixels: sharp on the screens of today
# TensorFlow's words on its own start would stand under the cell that imports it first.
c.InteractiveShellApp.exec_lines = [
    "from mnist_utils._support.stderr import quiet_import as _quiet; _quiet('tensorflow'); del _quiet"
]
