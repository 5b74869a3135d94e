"""The recipe of the bundled model: train it, evaluate it, write it as FunASR and sherpa-onnx do."""
