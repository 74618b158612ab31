"""Lightning callbacks: what happens around training, evaluation and prediction."""
