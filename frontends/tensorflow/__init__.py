"""TensorFlow models: SavedModel folders and frozen graphs, read without TensorFlow, and models in memory.

module = load("my_model")            # the folder of a SavedModel
module = load("frozen.pb")
module = load(tf_function, tf.TensorSpec([None, 224, 224, 3]))
"""

from __future__ import annotations

from uair.frontends.tensorflow.reader import load

__all__ = ["load"]
