"""What several tests share: where the fixtures lie, the goldens, and models opened once for the whole run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.models import BUNDLED

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared" / "fixtures"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the fixtures that are part of the repository."""
    return DATA


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """The folder of the larger fixtures, which lies beside the repository where there is one."""
    if not SHARED.is_dir():
        pytest.skip("the larger fixtures are not here: ../shared/fixtures is not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """What FunASR, funasr_onnx and sherpa-onnx made of the fixtures."""
    told: dict[str, Any] = json.loads((DATA / "golden" / "expected.json").read_text(encoding="utf-8"))
    return told


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Read a golden file by name, such as ``odd.auto.woitn.sensevoice``."""
    kept: dict[str, dict[str, np.ndarray]] = {}

    def read(name: str) -> dict[str, np.ndarray]:
        if name not in kept:
            with np.load(DATA / "golden" / f"{name}.npz", allow_pickle=False) as arrays:
                kept[name] = dict(arrays)
        return kept[name]

    return read


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of the bundled clips."""
    return BUNDLED.parent / "clips"


@pytest.fixture(scope="session")
def bundled() -> Any:
    """The bundled model, fp32."""
    return voxray.load_model()


@pytest.fixture(scope="session")
def bundled_int8() -> Any:
    """The bundled model, int8."""
    return voxray.load_model(BUNDLED / "model_quant.onnx")


@pytest.fixture(scope="session")
def funasr_model() -> Any:
    """The fixture model exported by FunASR, fp32."""
    return voxray.load_model(DATA / "sensevoice-funasr" / "model.onnx")


@pytest.fixture(scope="session")
def funasr_int8() -> Any:
    """The fixture model exported by FunASR, int8."""
    return voxray.load_model(DATA / "sensevoice-funasr" / "model_quant.onnx")


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A writable copy of the fixture model with what lies beside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.onnx", "tokens.json", "am.mvn"):
        shutil.copyfile(DATA / "sensevoice-funasr" / name, folder / name)
    return folder
