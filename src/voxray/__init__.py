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
    from voxray.api import (
        draft_description,
        draw_attention,
        find_model,
        known_models,
        load_audio,
        load_model,
        load_trace,
        probe_audio,
    )
    from voxray.attention import AttentionView, attention_map
    from voxray.demo import DemoClip, demo_clips, word_start_errors
    from voxray.edits import Comparison, Edit, compare
    from voxray.explanation import explain, layer_lens
    from voxray.exports import write_export
    from voxray.frontend import log_mel
    from voxray.lens import Lens
    from voxray.listen import evidence_sound, write_sound
    from voxray.manifest import read_manifest, read_times
    from voxray.standing import Standing, explains, standing_of
    from voxray.studies.bench import Benchmark, BenchOptions, bench
    from voxray.studies.bench.writing import write_bench
    from voxray.studies.compare import ComparisonDepth, ModelComparison, compare_models
    from voxray.studies.compare.writing import write_model_report
    from voxray.studies.corpus import Run, evaluate
    from voxray.studies.decisions import Decision, DecisionTrace, decisions
    from voxray.studies.drift import Drift, DriftOptions, Profile
    from voxray.studies.errors import Diagnosis, Mistake, diagnose
    from voxray.studies.gates import Gate
    from voxray.studies.languages import LanguageStudy, Spoken, compare_languages
    from voxray.studies.live import LiveEvent, LiveOptions, LiveRecogniser
    from voxray.studies.metrics import Metrics
    from voxray.studies.monitor import AttentionMonitor, JsonLines
    from voxray.studies.quality import QUALITY_FIGURES, HeadScore, Quality, head_atlas, quality
    from voxray.studies.report import report_of, write_report
    from voxray.studies.runs import RunComparison, compare_runs
    from voxray.studies.steps import Step
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
    "draw_attention": "voxray.api", "probe_audio": "voxray.api", "draft_description": "voxray.api",
    "log_mel": "voxray.frontend", "find_model": "voxray.api", "known_models": "voxray.api",
    "explain": "voxray.explanation", "layer_lens": "voxray.explanation", "Lens": "voxray.lens",
    "Stretch": "voxray.alignment", "stretches": "voxray.alignment",
    "evidence_sound": "voxray.listen", "write_sound": "voxray.listen",
    "Comparison": "voxray.edits", "Edit": "voxray.edits", "compare": "voxray.edits", "Normalisation": "voxray.texts",
    "why": "voxray.studies.why", "Why": "voxray.studies.why", "Inquiry": "voxray.studies.why",
    "diagnose": "voxray.studies.errors", "Diagnosis": "voxray.studies.errors", "Mistake": "voxray.studies.errors",
    "decisions": "voxray.studies.decisions", "Decision": "voxray.studies.decisions", "DecisionTrace": "voxray.studies.decisions",
    "evaluate": "voxray.studies.corpus", "Run": "voxray.studies.corpus", "Gate": "voxray.studies.gates",
    "Standing": "voxray.standing", "explains": "voxray.standing", "standing_of": "voxray.standing",
    "bench": "voxray.studies.bench", "Benchmark": "voxray.studies.bench", "BenchOptions": "voxray.studies.bench",
    "write_bench": "voxray.studies.bench.writing",
    "compare_models": "voxray.studies.compare", "ComparisonDepth": "voxray.studies.compare",
    "ModelComparison": "voxray.studies.compare", "write_model_report": "voxray.studies.compare.writing",
    "compare_runs": "voxray.studies.runs", "RunComparison": "voxray.studies.runs",
    "compare_languages": "voxray.studies.languages", "LanguageStudy": "voxray.studies.languages",
    "Spoken": "voxray.studies.languages", "read_manifest": "voxray.manifest", "read_times": "voxray.manifest",
    "quality": "voxray.studies.quality", "Quality": "voxray.studies.quality", "head_atlas": "voxray.studies.quality",
    "HeadScore": "voxray.studies.quality", "QUALITY_FIGURES": "voxray.studies.quality", "write_export": "voxray.exports",
    "Drift": "voxray.studies.drift", "DriftOptions": "voxray.studies.drift", "Profile": "voxray.studies.drift",
    "LiveEvent": "voxray.studies.live", "LiveOptions": "voxray.studies.live", "LiveRecogniser": "voxray.studies.live",
    "Metrics": "voxray.studies.metrics", "AttentionMonitor": "voxray.studies.monitor", "JsonLines": "voxray.studies.monitor",
    "Step": "voxray.studies.steps",
    "report_of": "voxray.studies.report", "write_report": "voxray.studies.report",
    **dict.fromkeys(
        ("AnatomyError", "Audio", "AudioError", "AudioInfo", "Features", "Grid", "ModelError", "OptionError", "OutputError",
         "Relevance", "Tag", "Target", "Token", "TraceError", "Transcript", "VoxrayError", "Word"),
        "voxray.types",
    ),
}  # fmt: skip

__all__ = [
    "QUALITY_FIGURES",
    "AnatomyError",
    "AttentionMonitor",
    "AttentionView",
    "Audio",
    "AudioError",
    "AudioInfo",
    "BenchOptions",
    "Benchmark",
    "Comparison",
    "ComparisonDepth",
    "Decision",
    "DecisionTrace",
    "DemoClip",
    "Diagnosis",
    "Drift",
    "DriftOptions",
    "Edit",
    "Features",
    "Gate",
    "Grid",
    "HeadScore",
    "Inquiry",
    "JsonLines",
    "LanguageStudy",
    "Lens",
    "LiveEvent",
    "LiveOptions",
    "LiveRecogniser",
    "Metrics",
    "Mistake",
    "ModelComparison",
    "ModelError",
    "Normalisation",
    "OptionError",
    "OutputError",
    "Profile",
    "Quality",
    "Relevance",
    "Run",
    "RunComparison",
    "Spoken",
    "Standing",
    "Step",
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
    "bench",
    "compare",
    "compare_languages",
    "compare_models",
    "compare_runs",
    "decisions",
    "demo_clips",
    "diagnose",
    "draft_description",
    "draw_attention",
    "evaluate",
    "evidence_sound",
    "explain",
    "explains",
    "find_model",
    "head_atlas",
    "known_models",
    "layer_lens",
    "load_audio",
    "load_model",
    "load_trace",
    "log_mel",
    "methods",
    "plot",
    "probe_audio",
    "quality",
    "read_manifest",
    "read_times",
    "report_of",
    "standing_of",
    "stretches",
    "why",
    "word_start_errors",
    "write_bench",
    "write_export",
    "write_model_report",
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
