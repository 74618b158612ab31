"""Options of a training that ends in seconds."""

SMALL = [
    "--data.size=32",
    "--data.num_cases=[4,3,2]",
    "--data.batch_size=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=1",
]
