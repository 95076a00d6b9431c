"""Settings of every test: hypothesis sets no deadline, because the first call of a kernel compiles it."""

from hypothesis import settings

settings.register_profile("petavox", deadline=None)
settings.load_profile("petavox")
