"""The ONNX workshop: reads graphs, finds what is inside, exposes it, runs it. The only code that imports onnx or onnxruntime."""
