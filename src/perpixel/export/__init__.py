"""Models as files for other programs: ONNX, OpenVINO and `torch.export`, each checked against the model it came from.

`record` turns a model into a program without Python, `write_model` writes and checks the file, and `open_exported` runs
it again, as a model that the tasks take. `perpixel.export(…)` and `perpixel export` are made of these.
"""
