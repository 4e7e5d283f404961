"""Export of a trained model to one file that other programs read: ONNX, SavedModel, TFLite."""
