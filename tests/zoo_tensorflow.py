"""The SavedModel that a real package carries, fetched as the zoo's models are.

It is basic-pitch's (Apache-2.0), saved by Keras 2. Its files are flat in the cache, named after their
place in the model's folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.zoo import REGISTRIES, PackageFile

_FOLDER = "basic_pitch/saved_models/icassp_2022/nmp"
_HASHES = {
    "saved_model.pb": "eaa25c91c431c91100c416a2c018663f4c635f28fa19529c4ff5e14c18aa29c9",
    "variables/variables.index": "356aa1a00095cf2dba17386144e8b289cb04195ae090aa7f324312b08220115e",
    "variables/variables.data-00000-of-00001": "f5d12cd7245fecea0c956c963751f3519c263615ea954b5948d5e8c9c3376f9b",
}

BASIC_PITCH: dict[str, PackageFile] = {
    place: PackageFile("basic-pitch", "0.4.0", f"{_FOLDER}/{place}", digest, saved_as=f"nmp.{Path(place).name}")
    for place, digest in _HASHES.items()
}
REGISTRIES.append(BASIC_PITCH)


def basic_pitch(folder: Path) -> Path:
    """The model's own folder, made inside of another one."""
    model = folder / "nmp"
    for place, file in BASIC_PITCH.items():
        target = model / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.fetch(), target)
    return model
