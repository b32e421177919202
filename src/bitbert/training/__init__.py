"""Training: tasks and data, distillation, stages and the loop; needs the `train` extra."""
