"""How TensorFlow traces models: a function that equal blocks share only once (see `layers.sharing`), without optimization."""

import threading

import tensorflow as tf

from t2t_mm.layers import sharing

_FUNCTIONS: dict = {}
_LOCK = threading.RLock()


def trace_once() -> None:
    """Makes all models and graphs created later in this process share one traced function per kind of block.

    It also disables TensorFlow's graph optimizers, which improve almost nothing in these graphs, and take longer than tracing.
    """
    sharing.share_by(_call)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _call(function, arguments, settings):
    if tf.executing_eagerly():
        return function(*arguments, **settings)
    arguments = [tf.convert_to_tensor(x) if isinstance(x, tf.Variable) else x for x in arguments]
    tensors = [x for x in arguments if tf.is_tensor(x)]
    others = tuple(None if tf.is_tensor(x) else (x,) for x in arguments)
    sizes = tuple((x.dtype, None if x.shape.rank is None else tuple(x.shape.as_list())) for x in tensors)
    key = function, others, tuple(sorted(settings.items())), sizes
    with _LOCK:
        if key not in _FUNCTIONS:
            _FUNCTIONS[key] = _trace(function, others, settings, tensors)
    return _FUNCTIONS[key](*tensors)


def _trace(function, others, settings, tensors):
    """Returns the traced function of tensors with these shapes and types; the other arguments are filled in."""

    def call(*tensors):
        rest = iter(tensors)
        return function(*(next(rest) if one is None else one[0] for one in others), **settings)

    call.__name__ = function.__name__
    with tf.init_scope():  # outside the current graph, so that every graph may call the function
        specs = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
        return tf.function(call, autograph=False).get_concrete_function(*specs)
