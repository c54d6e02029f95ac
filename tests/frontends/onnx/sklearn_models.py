"""Makes the models in the folder sklearn/ beside this file: what scikit-learn's pipelines look like in ONNX.

Run by hand, in an environment with scikit-learn and skl2onnx, which the tests do not need:

    python tests/frontends/onnx/sklearn_models.py

It makes more than are kept: KEPT names those that the tests run. The judge is onnxruntime, which runs the same file.
"""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).with_name("sklearn")
ROWS = 12
KEPT = (
    "forest boosting_of_two forest_of_two logistic_maps logistic_of_two one_class ordinals svc words_weighted".split()
)  # each kind of node once; all others that it made were compared too


def tables() -> Any:
    """Three classes of four features, and a number to predict."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] ** 2 + 0.3 * rng.standard_normal(150) > 0.5).astype(int) + (x[:, 2] > 0.7)
    return x, y, (x @ np.array([1, -2, 0.5, 0]) + x[:, 0] * x[:, 3]).astype(np.float32)


def estimators() -> Any:
    """Fitted estimators by name."""
    from sklearn.ensemble import (
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        IsolationForest,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Binarizer, MinMaxScaler, Normalizer, StandardScaler
    from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, OneClassSVM

    x, y, t = tables()
    two = np.array(["no", "yes"])[(y > 0).astype(int)]
    names = np.array(["blue", "green", "red"])[y]
    small = {"max_depth": 4, "random_state": 0}
    return {
        "forest": RandomForestClassifier(n_estimators=8, **small).fit(x, names),
        "forest_of_two": RandomForestClassifier(n_estimators=8, **small).fit(x, two),
        "forest_regressor": RandomForestRegressor(n_estimators=8, **small).fit(x, t),
        "extra_trees_two_targets": ExtraTreesRegressor(n_estimators=5, **small).fit(x, np.stack([t, -t], 1)),
        "boosting": GradientBoostingClassifier(n_estimators=5, max_depth=3, random_state=0).fit(x, y),
        "boosting_of_two": GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=0).fit(x, two),
        "boosting_regressor": GradientBoostingRegressor(n_estimators=8, max_depth=3, random_state=0).fit(x, t),
        "isolation_forest": IsolationForest(n_estimators=5, random_state=0, max_samples=32).fit(x),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()).fit(x, names),
        "logistic_of_two": make_pipeline(MinMaxScaler(), LogisticRegression()).fit(x, two),
        "linear": make_pipeline(Normalizer(), LinearRegression()).fit(x, t),
        "binarized": make_pipeline(Binarizer(threshold=0.3), LogisticRegression()).fit(x, y),
        "svc": SVC(random_state=0, max_iter=60).fit(x, y),
        "svc_of_two": SVC(kernel="poly", degree=2, max_iter=60).fit(x, two),
        "nu_svc": NuSVC(kernel="sigmoid", nu=0.2, max_iter=60).fit(x, y),
        "svr": SVR(max_iter=60).fit(x, t),
        "linear_svc": LinearSVC(random_state=0).fit(x, names),
        "one_class": OneClassSVM(nu=0.2, max_iter=60).fit(x),
    }, x[:ROWS]


def texts() -> Any:
    """Fitted estimators on strings by name, with their inputs."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import LabelEncoder, OneHotEncoder, OrdinalEncoder

    lines = ["the cat sat on the mat", "a dog sat", "the dog ate the cat", "no cats here", "", "dog dog dog"]
    column = np.array(lines, object).reshape(-1, 1)
    kinds = np.array([["red", "s"], ["blue", "m"], ["red", "l"], ["green", "s"]], object)
    count = CountVectorizer(ngram_range=(1, 2), token_pattern="[a-zA-Z]+").fit(lines)
    tfidf = make_pipeline(TfidfVectorizer(token_pattern="[a-zA-Z]+"), LogisticRegression()).fit(
        lines, [0, 1, 0, 0, 1, 1]
    )
    return {
        "words": (count, column),
        "words_weighted": (tfidf, column),
        "categories": (OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(kinds), kinds),
        "ordinals": (OrdinalEncoder().fit(kinds), kinds),
        "labels": (LabelEncoder().fit(kinds[:, 0]), kinds[:, :1]),
    }


def main() -> None:
    """Write all of them."""
    import onnxruntime
    from onnx import helper
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    FOLDER.mkdir(exist_ok=True)
    found, x = estimators()
    jobs = [(name, model, x, FloatTensorType([None, 4])) for name, model in found.items()]
    jobs += [(name, model, v, StringTensorType([None, v.shape[1]])) for name, (model, v) in texts().items()]
    for name, model, feed, kind in jobs:
        classifies = hasattr(model, "predict_proba") or hasattr(model, "decision_function")
        for zip_map, suffix in ((False, ""), (True, "_maps")) if name == "logistic" else ((False, ""),):
            options = {id(model): {"zipmap": zip_map}} if classifies and name not in _NO_MAP else None
            try:
                proto = to_onnx(
                    model, initial_types=[("x", kind)], options=options, target_opset={"": 17, "ai.onnx.ml": 3}
                )
                for node in proto.graph.node:
                    if node.op_type == "StringNormalizer":  # the default locale need not be installed
                        node.attribute.append(helper.make_attribute("locale", "C.UTF-8"))
                onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
                    None, {"x": feed}
                )
            except Exception as error:  # noqa: BLE001
                print(name, "SKIPPED", repr(error)[:200])
                continue
            proto.doc_string = ""
            if f"{name}{suffix}" not in KEPT:
                continue
            path = FOLDER / f"{name}{suffix}.onnx"
            path.write_bytes(proto.SerializeToString(deterministic=True))
            print(path.name, path.stat().st_size, sorted({n.domain + ":" + n.op_type for n in proto.graph.node}))


_NO_MAP = ("isolation_forest", "one_class", "linear_svc")

if __name__ == "__main__":
    main()
