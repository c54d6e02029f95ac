# ruff: noqa: E501, PLW0108 (a case a line, and a layer made anew for every test)
"""One case for each use of a layer: a function of an input, and the input's shape without the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers as L
from keras import ops as K

IMAGE, SERIES, ROW, VOLUME = (9, 8, 4), (7, 4), (6,), (5, 6, 4, 3)
Case = tuple[str, tuple[int, ...], Callable[[Any], Any]]

ACTIVATIONS = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid log_softmax "
    "mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid "
    "squareplus tanh tanh_shrink glu"
).split()


def layer_cases() -> list[Case]:
    """Layers called on one tensor."""
    cases: list[Case] = []

    def add(shape: tuple[int, ...], *layers: Any) -> None:
        for layer in layers:
            config = {k: v for k, v in layer.get_config().items() if isinstance(v, (int, str, list, tuple, float))}
            skip = ("name", "trainable", "dtype", "seed", "momentum")
            text = ",".join(f"{k}={v}" for k, v in config.items() if k not in skip)[:90]
            cases.append((f"{type(layer).__name__}-{len(cases)}-{text}", shape, layer))

    add(ROW, L.Dense(5), L.Dense(5, activation="gelu", use_bias=False), L.Identity())
    add(
        SERIES,
        L.Dense(5),
        L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"),
        L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"),
    )
    add(SERIES, L.EinsumDense("abc,cd->abd", (None, 3)), L.Permute((2, 1)))
    add(ROW, L.RepeatVector(3), *(L.Activation(a) for a in ACTIVATIONS))
    add(IMAGE, L.ReLU(), L.ReLU(max_value=1.0), L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2), L.ReLU(6.0))
    add(IMAGE, L.LeakyReLU(), L.ELU(0.7), L.PReLU(), L.PReLU(shared_axes=[1, 2]), L.Softmax(), L.Softmax(axis=(1, 2)))
    add(SERIES, *(L.Conv1D(5, 3, padding=p, dilation_rate=d) for p in ("same", "valid", "causal") for d in (1, 2)))
    add(
        SERIES,
        L.Conv1D(6, 3, strides=2, padding="same", groups=2, activation="relu"),
        L.DepthwiseConv1D(3, padding="same"),
    )
    add(SERIES, L.SeparableConv1D(5, 3, padding="same"), L.SeparableConv1D(5, 3, depth_multiplier=2, activation="tanh"))
    add(IMAGE, *(L.Conv2D(6, (3, 2), strides=s, padding=p) for p in ("same", "valid") for s in (1, 2, (2, 1))))
    add(
        IMAGE,
        L.Conv2D(6, 3, dilation_rate=2, padding="same", use_bias=False),
        L.Conv2D(6, 1, groups=2, activation="softmax"),
    )
    add(IMAGE, L.DepthwiseConv2D(3, strides=2, padding="same"), L.DepthwiseConv2D((2, 3), depth_multiplier=2))
    add(IMAGE, L.SeparableConv2D(5, 3, depth_multiplier=2, padding="same", activation="relu"))
    add(VOLUME, L.Conv3D(4, 2, padding="same", strides=2), L.Conv3D(4, (2, 3, 1)))
    for p in ("same", "valid"):
        add(SERIES, *(L.Conv1DTranspose(5, k, strides=s, padding=p) for k, s in ((3, 1), (3, 2), (2, 3), (4, 2))))
        add(IMAGE, *(L.Conv2DTranspose(5, k, strides=s, padding=p) for k, s in ((3, 2), (2, 3), (4, (1, 2)))))
        add(VOLUME, L.Conv3DTranspose(3, 3, strides=2, padding=p))
    add(IMAGE, L.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=1))
    for kind in ("Max", "Average"):
        for p in ("same", "valid"):
            add(SERIES, getattr(L, f"{kind}Pooling1D")(3, 2, padding=p))
            add(
                IMAGE,
                getattr(L, f"{kind}Pooling2D")((3, 2), (2, 3), padding=p),
                getattr(L, f"{kind}Pooling2D")(2, padding=p),
            )
            add(VOLUME, getattr(L, f"{kind}Pooling3D")(2, padding=p))
        for keep in (True, False):
            add(SERIES, getattr(L, f"Global{kind}Pooling1D")(keepdims=keep))
            add(IMAGE, getattr(L, f"Global{kind}Pooling2D")(keepdims=keep))
            add(VOLUME, getattr(L, f"Global{kind}Pooling3D")(keepdims=keep))
        add((8, 6, 4), getattr(L, f"Adaptive{kind}Pooling2D")((4, 3)), getattr(L, f"Adaptive{kind}Pooling2D")((3, 4)))
        add(SERIES, getattr(L, f"Adaptive{kind}Pooling1D")(3))
    add(
        IMAGE,
        L.BatchNormalization(),
        L.BatchNormalization(center=False, scale=False, epsilon=1e-2),
        L.BatchNormalization(axis=1),
    )
    add(ROW, L.BatchNormalization(), L.LayerNormalization(), L.RMSNormalization(), L.UnitNormalization())
    add(IMAGE, L.LayerNormalization(), L.LayerNormalization(axis=[2, 3], center=False), L.LayerNormalization(axis=1))
    add(
        IMAGE,
        L.LayerNormalization(scale=False, center=False),
        L.GroupNormalization(2),
        L.GroupNormalization(-1, scale=False),
    )
    add(IMAGE, L.RMSNormalization(), L.UnitNormalization(axis=[1, 2]))
    add(
        IMAGE,
        L.Reshape((6, -1)),
        L.Flatten(),
        L.Permute((3, 1, 2)),
        L.Cropping2D(((1, 2), (0, 3))),
        L.ZeroPadding2D(((1, 2), (0, 3))),
    )
    add(SERIES, L.Cropping1D((1, 2)), L.ZeroPadding1D(2), L.UpSampling1D(3), L.Flatten())
    add(VOLUME, L.Cropping3D(1), L.ZeroPadding3D((1, 0, 2)), L.UpSampling3D((1, 2, 3)))
    add(IMAGE, *(L.UpSampling2D((2, 3), interpolation=i) for i in ("nearest", "bilinear", "bicubic")))
    add(IMAGE, *(L.Resizing(5, 11, interpolation=i) for i in ("nearest", "bilinear", "bicubic")), L.CenterCrop(4, 5))
    add(
        IMAGE,
        L.Rescaling(1 / 127.5, offset=-1),
        L.Rescaling([1.0, 2.0, 3.0, 4.0]),
        L.Normalization(mean=[0.1] * 4, variance=[0.5] * 4),
    )
    add(IMAGE, L.Dropout(0.5), L.SpatialDropout2D(0.5), L.GaussianNoise(0.1), L.AlphaDropout(0.2), L.RandomFlip())
    for sequences in (True, False):
        for backwards in (True, False):
            o = {"return_sequences": sequences, "go_backwards": backwards}
            add(SERIES, L.LSTM(3, **o), L.GRU(3, **o), L.GRU(3, reset_after=False, **o), L.SimpleRNN(3, **o))
        for mode in ("concat", "sum", "ave", "mul"):
            add(SERIES, L.Bidirectional(L.LSTM(3, return_sequences=sequences), merge_mode=mode))
        add(
            SERIES,
            L.Bidirectional(L.GRU(3, return_sequences=sequences)),
            L.Bidirectional(L.SimpleRNN(3, return_sequences=sequences)),
        )
        add((4, 6, 5, 2), L.ConvLSTM2D(3, 2, padding="same", return_sequences=sequences))
    add(SERIES, L.LSTM(3, recurrent_activation="hard_sigmoid"), L.LSTM(3, activation="relu", use_bias=False))
    add(
        SERIES,
        L.RNN(L.LSTMCell(3)),
        L.RNN([L.GRUCell(3), L.LSTMCell(2)], return_sequences=True),
        L.GRU(2, use_bias=False),
    )
    add(
        SERIES,
        L.TimeDistributed(L.Dense(3)),
        L.Bidirectional(L.RNN([L.LSTMCell(3), L.LSTMCell(2)], return_sequences=True)),
        L.Bidirectional(L.RNN([L.LSTMCell(3), L.GRUCell(2)])),
    )
    add((3, *IMAGE), L.TimeDistributed(L.Conv2D(3, 2)))
    add((6, 5, 2), L.ConvLSTM1D(3, 2, padding="same"))
    return cases


def call_cases() -> list[Case]:
    """Layers called on several tensors or with arguments, operations, and shapes of models."""

    def nested(x: Any) -> Any:
        inner = keras.Sequential([keras.Input(IMAGE), L.Conv2D(3, 3, padding="same"), L.BatchNormalization(), L.ReLU()])
        shared = L.Dense(4)
        a = keras.Input((9, 8, 3))
        outer = keras.Model(a, [shared(a), shared(a * 2.0)])
        return L.Add()(outer(inner(x)))

    def two(f: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
        return lambda x: f(x, L.Dense(x.shape[-1])(x))

    def with_states(x: Any) -> Any:
        y, h, c = L.LSTM(3, return_sequences=True, return_state=True)(x)
        return [L.LSTM(3)(y, initial_state=[h, c]), h, c]

    def encoder_block(x: Any) -> Any:
        x = L.LayerNormalization()(x + L.Dropout(0.1)(L.MultiHeadAttention(2, 3, dropout=0.1)(x, x)))
        return L.LayerNormalization(epsilon=1e-6)(x + L.Dense(4)(L.Dense(9, activation="gelu")(x)))

    def words(x: Any) -> Any:
        return L.Embedding(9, 5, mask_zero=True)(K.cast(K.abs(x) * 2, "int32")[:, :, 0])

    masked = L.Embedding(9, 5, mask_zero=True)

    def masked_attention(x: Any) -> Any:
        e = masked(K.cast(K.abs(x) * 2, "int32")[:, :, 0])
        return [L.MultiHeadAttention(2, 3)(e, e), L.GlobalAveragePooling1D()(e)]

    merges = (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Concatenate)
    cases: list[Case] = [(f"merge-{m.__name__}", SERIES, two(lambda a, b, m=m: m()([a, b]))) for m in merges]
    cases += [
        ("merge-Concatenate-axis1", SERIES, two(lambda a, b: L.Concatenate(axis=1)([a, b]))),
        ("merge-Dot", SERIES, two(lambda a, b: L.Dot((1, 1))([a, b]))),
        ("merge-Dot-normalized", ROW, two(lambda a, b: L.Dot(1, normalize=True)([a, b]))),
        ("attention-MHA", SERIES, two(lambda a, b: L.MultiHeadAttention(2, 3)(a, b))),
        ("attention-MHA-value-dim", SERIES, two(lambda a, b: L.MultiHeadAttention(2, 3, value_dim=5, output_shape=7, use_bias=False)(a, b))),
        ("attention-MHA-causal", SERIES, lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)),
        ("attention-MHA-scores", SERIES, lambda x: list(L.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True))),
        ("attention-MHA-images", IMAGE, lambda x: L.MultiHeadAttention(2, 3)(x, L.Dense(4)(x))),
        ("attention-MHA-rows", IMAGE, lambda x: L.MultiHeadAttention(2, 3, value_dim=2, attention_axes=(2,))(x, x)),
        ("attention-MHA-columns", IMAGE, lambda x: L.MultiHeadAttention(2, 3, attention_axes=(1,))(x, L.Dense(4)(x), key=L.Dense(4)(x))),
        ("attention-MHA-computed-mask", SERIES, lambda x: L.MultiHeadAttention(2, 3)(x, x, attention_mask=K.matmul(x, K.swapaxes(x, 1, 2)) > -1)),
        ("attention-Additive-causal", SERIES, two(lambda a, b: list(L.AdditiveAttention()([a, b], use_causal_mask=True, return_attention_scores=True)))),
        ("attention-encoder", SERIES, lambda x: encoder_block(encoder_block(x))),
        ("attention-GQA-causal", SERIES, lambda x: L.GroupQueryAttention(4, 4, 1, use_bias=False)(x, x, use_causal_mask=True)),
        ("attention-GQA", SERIES, lambda x: L.GroupQueryAttention(3, 4, 2)(x, x)),
        ("attention-Attention", SERIES, two(lambda a, b: L.Attention()([a, b]))),
        ("attention-Attention-scaled", SERIES, two(lambda a, b: L.Attention(use_scale=True)([a, b, a]))),
        ("attention-Attention-concat", SERIES, two(lambda a, b: L.Attention(use_scale=True, score_mode="concat")([a, b]))),
        ("attention-Additive", SERIES, two(lambda a, b: L.AdditiveAttention()([a, b]))),
        ("attention-masked", SERIES, masked_attention),
        ("embedding", SERIES, lambda x: L.Embedding(9, 5)(K.cast(K.abs(x) * 2, "int32")[:, :, 0])),
        ("nested-shared", IMAGE, nested),
        ("lstm-states", SERIES, with_states),
        ("bidirectional-states", SERIES, lambda x: list(L.Bidirectional(L.LSTM(3, return_state=True))(x))),
        ("gru-states-backwards", SERIES, lambda x: list(L.GRU(3, go_backwards=True, return_sequences=True, return_state=True)(x))),
        ("gru-initial-state", SERIES, lambda x: L.GRU(3)(x, initial_state=L.Dense(3)(x[:, 0]))),
        ("stacked-states", SERIES, lambda x: keras.tree.flatten(L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_state=True)(x))),
        ("bidirectional-initial-state", SERIES, lambda x: L.Bidirectional(L.LSTM(3))(x, initial_state=[L.Dense(3)(x[:, i]) for i in range(4)])),
        ("bidirectional-ConvLSTM2D", (4, 6, 5, 2), lambda x: L.Bidirectional(L.ConvLSTM2D(3, 2, padding="same", return_sequences=True))(x)),
        ("bidirectional-ConvLSTM1D-states", (4, 6, 2), lambda x: list(L.Bidirectional(L.ConvLSTM1D(3, 2, return_state=True), merge_mode="sum")(x))),
        ("ConvLSTM2D-states", (4, 6, 5, 2), lambda x: list(L.ConvLSTM2D(3, 2, strides=2, go_backwards=True, return_sequences=True, return_state=True)(x))),
        ("ConvLSTM3D", (3, 4, 4, 3, 2), lambda x: L.ConvLSTM3D(2, 2, padding="same", use_bias=False)(x)),
        ("time-distributed-model", (4, 6, 5, 2), lambda x: L.TimeDistributed(keras.Sequential([keras.Input((6, 5, 2)), L.Conv2D(3, 3), L.MaxPooling2D(2), L.Flatten()]))(x)),
        ("time-distributed-LSTM", (3, 4, 5), lambda x: L.TimeDistributed(L.TimeDistributed(L.Dense(3)))(L.Reshape((3, 4, 1))(L.TimeDistributed(L.LSTM(4))(x)))),
        ("masked-LSTM", SERIES, lambda x: L.LSTM(3)(words(x))),
        ("masked-LSTM-steps", SERIES, lambda x: list(L.LSTM(3, return_sequences=True, return_state=True)(words(x)))),
        ("masked-GRU-backwards", SERIES, lambda x: list(L.GRU(3, go_backwards=True, return_sequences=True, return_state=True)(words(x)))),
        ("masked-twice", SERIES, lambda x: L.SimpleRNN(3)(L.GRU(3, return_sequences=True)(words(x)))),
        ("masked-stack", SERIES, lambda x: L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True)(words(x))),
        ("masked-Bidirectional", SERIES, lambda x: [L.Bidirectional(L.LSTM(3, return_sequences=True))(words(x)), L.Bidirectional(L.GRU(3))(words(x))]),
        ("masked-Bidirectional-on", SERIES, lambda x: L.GRU(2)(L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")(words(x)))),
        ("masked-initial-state", SERIES, lambda x: L.LSTM(3)(words(x), initial_state=[L.Dense(3)(x[:, 0]), L.Dense(3)(x[:, 1])])),
        ("masked-initial-state-given", SERIES, lambda x: L.GRU(3, return_sequences=True)(x, initial_state=L.Dense(3)(x[:, 0]), mask=x[:, :, 1] > 0)),
        ("masked-Masking", SERIES, lambda x: L.LSTM(3)(L.Masking(0.0)(K.relu(x[:, :, :1])))),
        ("masked-all", SERIES, lambda x: K.concatenate([L.LSTM(3, return_sequences=True)(x, mask=x[:, :, 1] > 100), x], -1)),
        ("outputs-dict", ROW, lambda x: {"b": L.Dense(2)(x), "a": x * 2}),
        ("mixed", ROW, lambda x: L.Dense(3, dtype="mixed_bfloat16")(x)),
        ("ops-arithmetic", ROW, two(lambda a, b: K.sqrt(K.abs(a - b)) / (1.5 + K.square(a)) + K.exp(-a) * K.maximum(a, 0.3) ** 2)),
        ("ops-shapes", IMAGE, lambda x: K.squeeze(K.expand_dims(K.transpose(K.reshape(x, (-1, 9, 32)), (0, 2, 1)), 1), 1))  ,
        ("ops-index", IMAGE, lambda x: [x[:, 1:5, ::2, 0], x[..., -1], x[:, None, 3], K.take(x, [1, 0], axis=2)]),
        ("ops-reduce", IMAGE, lambda x: [K.mean(x, axis=(1, 2)), K.max(x, axis=-1, keepdims=True), K.sum(x), K.std(x, axis=1), K.var(x)]),
        ("ops-join", SERIES, two(lambda a, b: [K.concatenate([a, b], 1), K.stack([a, b], -1), *K.split(a, 2, axis=-1)])),
        ("ops-matmul", SERIES, two(lambda a, b: [K.matmul(a, K.swapaxes(b, 1, 2)), K.einsum("abc,adc->abd", a, b)])),
        ("ops-where", ROW, two(lambda a, b: K.where(K.logical_and(a > b, a > 0), a, K.clip(b, -0.5, 0.5)))),
        ("ops-places", ROW, lambda x: [K.one_hot(K.argmax(x, -1), 6), K.top_k(x, 3)[0], K.cumsum(x, 1), K.flip(x, 1)]),
        ("ops-sparsemax", ROW, lambda x: K.sparsemax(x * 0.1)),
        ("ops-pad", SERIES, lambda x: [K.pad(x, ((0, 0), (1, 2), (0, 0))), K.tile(x, (1, 2, 1)), K.normalize(x, axis=-1)]),
        ("ops-activations", ROW, lambda x: K.gelu(K.silu(x)) + K.softmax(x) + K.relu(x) + K.leaky_relu(x) + K.hard_sigmoid(x)),
    ]  # fmt: skip
    return cases
