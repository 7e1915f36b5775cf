"""The layers of the core: spatial, recurrent, dense, dropout, reshaping, merging."""

from __future__ import annotations

from tests.parity.cases.case import CF, FIRST, IMAGE, PAIR, SEQUENCE, VOLUME, Case


def _spatial() -> list[Case]:
    cases = []
    shapes = {1: (SEQUENCE, (2, 4, 7)), 2: (IMAGE, FIRST), 3: (VOLUME, (2, 4, 6, 5, 7))}
    for rank, (last, first) in shapes.items():
        for kind in ("MaxPooling", "AveragePooling"):
            name = f"{kind}{rank}D"
            cases += [
                Case(name, {"pool_size": 2}, last),
                Case(name, {"pool_size": 3, "strides": 2, "padding": "same"}, last),
                Case(name, {"pool_size": 2, "strides": 1} | CF, first),
            ]
        for kind in ("GlobalMaxPooling", "GlobalAveragePooling"):
            cases += [
                Case(f"{kind}{rank}D", {}, last),
                Case(f"{kind}{rank}D", {"keepdims": True} | CF, first),
            ]
        cases += [
            Case(f"Conv{rank}D", {"filters": 6, "kernel_size": 3}, last),
            Case(f"Conv{rank}D", {"filters": 6, "kernel_size": 2, "strides": 2, "padding": "same"}, last),
            Case(f"Conv{rank}D", {"filters": 6, "kernel_size": 2, "groups": 2, "activation": "relu"}, last),
            Case(f"Conv{rank}D", {"filters": 4, "kernel_size": 2, "dilation_rate": 2, "use_bias": False}, last),
            Case(f"Conv{rank}D", {"filters": 4, "kernel_size": 3, "padding": "same"} | CF, first),
            Case(f"ZeroPadding{rank}D", {"padding": 2}, last),
            Case(f"Cropping{rank}D", {"cropping": 1}, last),
            Case(f"UpSampling{rank}D", {"size": 2}, last),
            Case(f"SpatialDropout{rank}D", {"rate": 0.3}, last),
        ]
    return [
        *cases,
        Case("Conv1D", {"filters": 6, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, SEQUENCE),
        Case("Conv2D", {"filters": 6, "kernel_size": (3, 2), "strides": (2, 1)}, IMAGE),
        Case("ZeroPadding1D", {"padding": (1, 3)}, SEQUENCE),
        Case("ZeroPadding2D", {"padding": ((1, 2), (0, 3))} | CF, FIRST),
        Case("Cropping2D", {"cropping": ((1, 2), (0, 3))}, IMAGE),
        Case("Cropping2D", {}, IMAGE),
        Case("UpSampling2D", {"size": (2, 3), "interpolation": "bilinear"}, IMAGE),
        Case("UpSampling2D", {"size": 2} | CF, FIRST),
    ]


def _recurrent() -> list[Case]:
    cases = []
    for name in ("SimpleRNN", "LSTM", "GRU"):
        cases += [
            Case(name, {"units": 6}, SEQUENCE),
            Case(name, {"units": 3, "return_sequences": True, "go_backwards": True}, SEQUENCE),
            Case(name, {"units": 3, "return_state": True, "use_bias": False}, SEQUENCE),
            Case(
                name,
                {"units": 3, "return_sequences": True, "return_state": True, "activation": "relu"},
                SEQUENCE,
            ),
        ]
        for mode in ("concat", "sum", "mul", "ave"):
            inner = {"units": 3, "return_sequences": True}
            cases.append(Case("Bidirectional", {"merge_mode": mode}, SEQUENCE, 0, name, inner))
    return [
        *cases,
        Case("Bidirectional", {}, SEQUENCE, 0, "LSTM", {"units": 3}),
        Case("Bidirectional", {"merge_mode": None}, SEQUENCE, 0, "GRU", {"units": 3}),
        Case("GRU", {"units": 4, "reset_after": False, "activity_regularizer": "l2"}, SEQUENCE),
        Case("LSTM", {"units": 4, "unit_forget_bias": False, "recurrent_activation": "hard_sigmoid"}, SEQUENCE),
        Case("TimeDistributed", {}, (2, 6, 4), 0, "Dense", {"units": 3, "activation": "tanh"}),
        Case("TimeDistributed", {}, (2, 3, 8, 9, 4), 0, "Conv2D", {"filters": 3, "kernel_size": 3}),
    ]


CASES = [
    Case("Dense", {"units": 3}),
    Case("Dense", {"units": 3, "activation": "relu", "use_bias": False}, (2, 4, 6, 5)),
    Case("Dense", {"units": 2, "kernel_regularizer": "l2", "bias_initializer": "ones"}, (2, 7, 5)),
    Case("Embedding", {"input_dim": 11, "output_dim": 4}, (3, 6), ids=11),
    Case("Activation", {"activation": "gelu"}),
    Case("ReLU", {"max_value": 0.5, "negative_slope": 0.1, "threshold": 0.2}),
    Case("LeakyReLU", {}),
    Case("Softmax", {"axis": 1}, (2, 4, 5)),
    Case("Flatten", {}, IMAGE),
    Case("Flatten", CF, FIRST),
    Case("Flatten", {}, (3,)),
    Case("Reshape", {"target_shape": (2, -1)}, (3, 4, 5)),
    Case("Permute", {"dims": (2, 1)}, (3, 4, 5)),
    Case("RepeatVector", {"n": 4}),
    Case("Dropout", {"rate": 0.5}),
    Case("Masking", {"mask_value": 0.0}, SEQUENCE),
    Case("Identity", {}),
    Case("BatchNormalization", {}, IMAGE),
    Case("BatchNormalization", {"axis": 1, "scale": False, "epsilon": 1e-2}, FIRST),
    Case("BatchNormalization", {"center": False}, (6, 5)),
    Case("LayerNormalization", {}, SEQUENCE),
    Case("LayerNormalization", {"axis": [1, 2], "center": False}, SEQUENCE),
    *[Case(name, {}, PAIR) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")],
    Case("Add", {}, [(3, 4, 5), (3, 5), (3, 1, 5)]),
    Case("Concatenate", {}, [(3, 4, 5), (3, 4, 2)]),
    Case("Concatenate", {"axis": 1}, [(3, 4, 5), (3, 2, 5)]),
    Case("Dot", {"axes": 1}, [(3, 5), (3, 5)]),
    Case("Dot", {"axes": (2, 1)}, [(3, 4, 5), (3, 5, 6)]),
    Case("Dot", {"axes": 2, "normalize": True}, [(3, 4, 5), (3, 6, 5)]),
    *_spatial(),
    *_recurrent(),
]
