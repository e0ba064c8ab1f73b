"""Reading and writing of files: checkpoints, data sets, pictures and plots."""
