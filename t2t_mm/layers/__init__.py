"""The Keras layers of the body (paper, 2.1 to 2.3), which only use `keras.ops`.

The whole package uses these letters for shapes: B batch, L length (S of the source, T of the target), H and W rows and
columns, D depth, G heads, E experts, K chosen experts, V vocabulary. `padding` is boolean, True where a position is padded.
"""
