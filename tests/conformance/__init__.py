"""Runs recorded cases of AWS Step Functions through the engine: `python -m tests.conformance [DIR ...]`.

`cases` reads them, `normalise` and `compare` say when an answer equals a recording, `script` turns recorded task
outcomes into scripted tasks, `run` runs one case, `exceptions` says what is not judged, `report` counts.
"""
