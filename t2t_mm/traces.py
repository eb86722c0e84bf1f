"""How TensorFlow traces a function of equal blocks once (see `layers.sharing`)."""

import threading

import tensorflow as tf

from t2t_mm.layers import sharing

_FUNCTIONS: dict = {}
_LOCK = threading.RLock()


def share_traces() -> None:
    """Equal blocks of every model of this process are from now on one function in all graphs, called by each of them."""
    sharing.share_by(_call)


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
    """The function of any tensors of these shapes and types, the arguments that are no tensors filled in."""

    def call(*tensors):
        rest = iter(tensors)
        return function(*(next(rest) if one is None else one[0] for one in others), **settings)

    call.__name__ = function.__name__
    with tf.init_scope():  # of no graph in particular: every graph may call it
        specs = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
        return tf.function(call, autograph=False).get_concrete_function(*specs)
