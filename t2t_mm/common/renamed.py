"""The new names of renamed settings, for the error message about a binding with an old name."""

RENAMED = {
    "loop.train.loss_weights": "settings.Objective.loss_weights",
    "loop.train.eval_steps": "settings.Evaluation.every_steps",
    "loop.train.eval_examples": "settings.Evaluation.examples",
    "loop.train.eval_samples": "settings.Evaluation.samples",
    "loop.train.best_metric": "settings.Evaluation.best_metric",
    "loop.train.save_steps": "settings.Checkpointing.every_steps",
    "loop.train.keep_checkpoints": "settings.Checkpointing.keep",
    "loop.train.precision": "settings.Numerics.precision",
    "loop.train.jit_compile": "settings.Numerics.jit_compile",
    "loop.train.not_finite": "settings.Numerics.not_finite",
    "loop.train.log_steps": "settings.Observation.log_steps",
    "loop.train.cosine_steps": "settings.Observation.cosine_steps",
    "loop.train.profile_steps": "settings.Observation.profile_steps",
    "loop.OptimizerSettings.beta_1": "settings.Optimizer.beta_1",
    "loop.OptimizerSettings.beta_2": "settings.Optimizer.beta_2",
    "loop.OptimizerSettings.epsilon": "settings.Optimizer.epsilon",
    "loop.OptimizerSettings.clip_norm": "settings.Optimizer.clip_norm",
    "loop.OptimizerSettings.label_smoothing": "settings.Objective.label_smoothing",
    "loop.OptimizerSettings.balance_weight": "settings.Objective.balance_weight",
    "loop.OptimizerSettings": "settings.Optimizer",
}
