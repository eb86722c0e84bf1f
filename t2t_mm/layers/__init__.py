"""Keras layers of the body (paper, 2.1 to 2.3), written in `keras.ops` alone.

Legend of shapes, here and everywhere: B batch, L length (S of the source, T of the target), H W rows and columns,
D depth, G heads, E experts, K chosen experts, V vocabulary. `padding` is boolean, True where a position is padded.
"""
