"""The Gradient Norm Penalty for ONNX models: training steps as graphs, and training them."""
