"""The ONNX workshop: reads graphs, finds what is inside, exposes it, runs it. The only code that imports onnx or onnxruntime."""

import os

# ONNX Runtime reports its use to its maker unless told not to before it is loaded. What is said to Voxray stays here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
