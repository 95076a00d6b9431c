"""The door for notebooks and scripts: the functions that `import petavox` offers, and the objects that they return."""
