"""X-ray glasses for speech recognition.

Voxray runs a recogniser from its ONNX file, takes attention and other evidence out of the graph, and shows which part of the
sound each decision came from.

    import voxray

    model = voxray.load_model()
    trace = model.trace("clip.wav")
    print(trace.text)
    voxray.plot.attention(trace, layer=5, head=0, path="attention.png")

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxray import methods, plot
    from voxray.alignment import Stretch, stretches
    from voxray.api import draw_attention, find_model, known_models, load_audio, load_model, load_trace, probe_audio
    from voxray.attention import AttentionView, attention_map
    from voxray.demo import DemoClip, demo_clips, word_start_errors
    from voxray.edits import Comparison, Edit, compare
    from voxray.explanation import explain, layer_lens
    from voxray.exports import write_export
    from voxray.lens import Lens
    from voxray.listen import evidence_sound, write_sound
    from voxray.manifest import read_manifest
    from voxray.studies.corpus import Run, evaluate
    from voxray.studies.decisions import Decision, DecisionTrace, decisions
    from voxray.studies.errors import Diagnosis, Mistake, diagnose
    from voxray.studies.gates import Gate
    from voxray.studies.languages import LanguageStudy, Spoken, compare_languages
    from voxray.studies.report import report_of, write_report
    from voxray.studies.runs import RunComparison, compare_runs
    from voxray.studies.why import Inquiry, Why, why
    from voxray.texts import Normalisation
    from voxray.trace import Trace
    from voxray.types import (
        AnatomyError,
        Audio,
        AudioError,
        AudioInfo,
        Features,
        Grid,
        ModelError,
        OptionError,
        OutputError,
        Relevance,
        Tag,
        Target,
        Token,
        TraceError,
        Transcript,
        VoxrayError,
        Word,
    )

__version__ = "0.1.0"

_HOMES = {
    "load_audio": "voxray.api", "load_model": "voxray.api", "load_trace": "voxray.api", "plot": "voxray.plot",
    "methods": "voxray.methods",
    "AttentionView": "voxray.attention", "attention_map": "voxray.attention", "Trace": "voxray.trace",
    "DemoClip": "voxray.demo", "demo_clips": "voxray.demo", "word_start_errors": "voxray.demo",
    "draw_attention": "voxray.api", "probe_audio": "voxray.api", "find_model": "voxray.api", "known_models": "voxray.api",
    "explain": "voxray.explanation", "layer_lens": "voxray.explanation", "Lens": "voxray.lens",
    "Stretch": "voxray.alignment", "stretches": "voxray.alignment",
    "evidence_sound": "voxray.listen", "write_sound": "voxray.listen",
    "Comparison": "voxray.edits", "Edit": "voxray.edits", "compare": "voxray.edits", "Normalisation": "voxray.texts",
    "why": "voxray.studies.why", "Why": "voxray.studies.why", "Inquiry": "voxray.studies.why",
    "diagnose": "voxray.studies.errors", "Diagnosis": "voxray.studies.errors", "Mistake": "voxray.studies.errors",
    "decisions": "voxray.studies.decisions", "Decision": "voxray.studies.decisions", "DecisionTrace": "voxray.studies.decisions",
    "evaluate": "voxray.studies.corpus", "Run": "voxray.studies.corpus", "Gate": "voxray.studies.gates",
    "compare_runs": "voxray.studies.runs", "RunComparison": "voxray.studies.runs",
    "compare_languages": "voxray.studies.languages", "LanguageStudy": "voxray.studies.languages",
    "Spoken": "voxray.studies.languages", "read_manifest": "voxray.manifest", "write_export": "voxray.exports",
    "report_of": "voxray.studies.report", "write_report": "voxray.studies.report",
    **dict.fromkeys(
        ("AnatomyError", "Audio", "AudioError", "AudioInfo", "Features", "Grid", "ModelError", "OptionError", "OutputError",
         "Relevance", "Tag", "Target", "Token", "TraceError", "Transcript", "VoxrayError", "Word"),
        "voxray.types",
    ),
}  # fmt: skip

__all__ = [
    "AnatomyError",
    "AttentionView",
    "Audio",
    "AudioError",
    "AudioInfo",
    "Comparison",
    "Decision",
    "DecisionTrace",
    "DemoClip",
    "Diagnosis",
    "Edit",
    "Features",
    "Gate",
    "Grid",
    "Inquiry",
    "LanguageStudy",
    "Lens",
    "Mistake",
    "ModelError",
    "Normalisation",
    "OptionError",
    "OutputError",
    "Relevance",
    "Run",
    "RunComparison",
    "Spoken",
    "Stretch",
    "Tag",
    "Target",
    "Token",
    "Trace",
    "TraceError",
    "Transcript",
    "VoxrayError",
    "Why",
    "Word",
    "attention_map",
    "compare",
    "compare_languages",
    "compare_runs",
    "decisions",
    "demo_clips",
    "diagnose",
    "draw_attention",
    "evaluate",
    "evidence_sound",
    "explain",
    "find_model",
    "known_models",
    "layer_lens",
    "load_audio",
    "load_model",
    "load_trace",
    "methods",
    "plot",
    "probe_audio",
    "read_manifest",
    "report_of",
    "stretches",
    "why",
    "word_start_errors",
    "write_export",
    "write_report",
    "write_sound",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'voxray' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    value = module if _HOMES[name] == f"voxray.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
