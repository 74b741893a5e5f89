"""`python -m dreampose_core VERB`: every stage of the model as a program with explicit arguments.

Reading order: frames → base → finetune-unet, finetune-vae → sample → assemble → evaluate;
encode-clips → finetune-base make another base; `train-decoder` and `train-base` are the recipe
of the shipped weights; `benchmark` and `benchmark-table` say how good they are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from common.program import main
from common.settings import Limits, NoiseSettings, Sampling, TrainingSettings, group
from dreampose_core.changed import unchanged

Scheduler = Literal["base", "ddim", "pndm", "dpm++", "unipc"]


@dataclass(frozen=True, kw_only=True)
class Frames(Limits):
    """A photo or clip to a frames folder."""

    input: Path
    out: Path
    fps: float = 0.0
    """frames per second to keep; 0 keeps the source's"""
    start: float = 0.0
    """seconds to skip"""
    end: float = 0.0
    """second to stop at; 0 is the end"""
    max_frames: int = 0
    """stop after so many frames; 0 keeps all"""
    max_side: int = 1280
    """scale down so that the longer side has at most so many pixels"""

    def run(self) -> None:
        from dreampose_core.extract import extract_frames

        extract_frames(
            self.input, self.out, self.fps, self.start, self.end, self.max_frames, self.max_side,
            limits=group(Limits, self),
        )  # fmt: skip


@dataclass(frozen=True)
class Assemble:
    """A samples folder to an mp4, the same bytes every time."""

    samples: Path
    out: Path
    crf: int = 16
    """x264 quality: lower is better and larger"""
    scale: int = 1
    """enlarge every pixel so many times"""
    driving: Path | None = None
    """frames folder whose span of `audio` is taken"""
    audio: Path | None = None
    """clip whose sound is laid under the video"""

    def run(self) -> None:
        from dreampose_core.assemble import assemble

        assemble(**vars(self))


@dataclass(frozen=True, kw_only=True)
class Perceptual:
    """Figures by networks trained on photographs; each names the package or file it needs."""

    lpips: bool = False
    """LPIPS, by the package lpips"""
    fid: bool = False
    """FID, by the package torch-fidelity"""
    fvd: Path | None = None
    """FVD, by this file i3d_torchscript.pt"""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Perceptual):
    """Metrics and a contact sheet of a render."""

    samples: Path
    subject: Path
    """frames folder of the subject"""
    subject_poses: Path | None = None
    """poses folder of the subject: are garment and skin colours kept?"""
    driving: Path
    """frames folder of the driving clip"""
    poses: Path
    """poses folder of the render"""
    out: Path
    truth: Path | None = None
    """frames folder of the true answer, where one exists"""
    estimated_poses: Path | None = None
    """poses folder estimated from the result: is it in the poses asked for?"""
    columns: int = 6
    """frames on the contact sheet"""

    def run(self) -> None:
        from dreampose_core.evaluate import evaluate
        from dreampose_core.measuring import Extras

        evaluate(
            self.samples, self.subject, self.driving, self.poses, self.out, self.subject_poses,
            self.truth, self.estimated_poses, self.columns, group(Extras, self),
        )  # fmt: skip


@dataclass(frozen=True)
class Compare(Perceptual):
    """Any two clips compared: folders of pictures or videos."""

    first: Annotated[Positional[Path], arg(metavar="FIRST")]
    """folder of pictures or video"""
    second: Annotated[Positional[Path], arg(metavar="SECOND")]
    """the truth: as many pictures; scaled where the sizes differ"""
    poses: Annotated[Path | None, arg(help_behavior_hint="")] = None
    """poses folder of FIRST: adds figures of person and background"""
    estimated_poses: Annotated[Path | None, arg(help_behavior_hint="")] = None
    """poses folder estimated from FIRST: compared with --poses"""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE", help_behavior_hint="")] = None
    """also write the figures to this .json"""
    max_frames: int = 0
    """the first so many frames of both; 0 for all"""

    def run(self) -> None:
        from dreampose_core.compare import compare
        from dreampose_core.measuring import Extras

        compare(
            self.first, self.second, self.poses, self.estimated_poses, self.out, self.max_frames,
            group(Extras, self),
        )  # fmt: skip


@dataclass(frozen=True)
class Base:
    """A model folder from a finished folder, a Stable Diffusion one, a hub id, or a .json."""

    source: str
    out: Path
    revision: str = ""
    """of a hub id"""
    seed: int = 0
    """of random weights"""

    def run(self) -> None:
        from dreampose_core.base import make_base

        make_base(self.source, self.revision, self.seed, self.out)


@dataclass(frozen=True, kw_only=True)
class FinetuneUnet(NoiseSettings, TrainingSettings):
    """UNet and adapter to one subject; --steps 0 keeps the base's."""

    base: Path
    frames: Path
    poses: Path
    out: Path
    pairs: int = 24
    """reference and target pairs that are encoded and trained on"""
    min_snr: float = 0.0
    """gamma of min-SNR weighting; 0 for none"""

    def run(self) -> None:
        settings = group(TrainingSettings, self)
        if not self.steps:
            unchanged(self.out, settings)
            return
        from dreampose_core.finetune import finetune_unet

        noise = group(NoiseSettings, self)
        finetune_unet(
            self.base, self.frames, self.poses, self.out, self.pairs, noise, self.min_snr, settings
        )


@dataclass(frozen=True, kw_only=True)
class FinetuneVae(TrainingSettings):
    """The VAE's decoder to one subject; --steps 0 keeps the base's."""

    base: Path
    frames: Path
    poses: Path
    out: Path
    pairs: int = 24
    """pictures that are encoded and trained on"""

    def run(self) -> None:
        settings = group(TrainingSettings, self)
        if not self.steps:
            unchanged(self.out, settings)
            return
        from dreampose_core.finetune import finetune_vae

        finetune_vae(self.base, self.frames, self.poses, self.out, self.pairs, settings)


@dataclass(frozen=True, kw_only=True)
class EncodeClips:
    """A dataset's clips as a base's encoders see them, computed once for all its trainings."""

    base: Path
    dataset: Path
    """the file that `dreampose dataset` wrote"""
    out: Path
    batch_size: int = 16
    """frames at a time"""

    def run(self) -> None:
        from dreampose_core.encode_clips import encode_clips

        encode_clips(**vars(self))


@dataclass(frozen=True, kw_only=True)
class FinetuneBase(NoiseSettings, TrainingSettings):
    """UNet and adapter to many clips: another base."""

    base: Path
    encoded: Path
    """folder of encode-clips"""
    out: Path
    steps: int = 0
    """0 trains for --epochs"""
    epochs: float = 5.0
    """times as many samples as there are frames to train on"""
    learning_rate: float = 5e-6
    min_snr: float = 0.0
    """gamma of min-SNR weighting; 0 for none"""

    def run(self) -> None:
        from dreampose_core.finetune_base import finetune_base

        finetune_base(
            self.base,
            self.encoded,
            self.out,
            self.epochs,
            group(NoiseSettings, self),
            self.min_snr,
            group(TrainingSettings, self),
        )


@dataclass(frozen=True, kw_only=True)
class Sampled(Sampling):
    """What is sampled, and how."""

    base: Path
    unet: Path | None = None
    """folder of finetune-unet"""
    vae: Path | None = None
    """folder of finetune-vae"""
    frames: Path
    """the subject's frames folder; the first frame is the reference"""
    subject_poses: Path
    poses: Path
    """the render's poses, in the subject's frame (retarget)"""
    out: Path
    scheduler: Scheduler = "base"
    """base keeps the model's own"""
    half: bool = False
    """compute in float16 where there is a GPU"""


@dataclass(frozen=True, kw_only=True)
class Sample(Sampled):
    """A subject's picture in a clip's poses: a samples folder."""

    batch_size: int = 8
    """frames at a time"""

    def run(self) -> None:
        from dreampose_core.sample import sample
        from dreampose_core.scene import Inputs

        given, settings = group(Inputs, self), group(Sampling, self)
        sample(given, self.out, settings, self.scheduler, self.batch_size, self.half)


@dataclass(frozen=True, kw_only=True)
class Sweep(Sampled):
    """One frame under every pair of guidance strengths, as a grid: a .png file."""

    image_strengths: tuple[float, ...] = (1, 3, 6, 9)
    """s1, a row each"""
    pose_strengths: tuple[float, ...] = (1, 3, 6, 9)
    """s2, a column each"""
    frame: int = 0
    """of the poses"""

    def run(self) -> None:
        from dreampose_core.scene import Inputs
        from dreampose_core.sweep import sweep

        sweep(
            group(Inputs, self), self.out, group(Sampling, self), self.scheduler,
            self.image_strengths, self.pose_strengths, self.frame, self.half,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImportCheckpoint:
    """Published .pth files and their base to a model folder."""

    unet: Path
    adapter: Path
    vae: Path | None = None
    """the subject's VAE, where there is one"""
    base: str = "CompVis/stable-diffusion-v1-4"
    """folder or hub id of the model that the checkpoint was trained on"""
    pose_range: Literal["unit", "symmetric"] = "symmetric"
    """how the checkpoint expects poses: symmetric as the published test script scales them"""
    out: Path

    def run(self) -> None:
        from dreampose_core.published import import_published

        import_published(**vars(self))
        print(f"{self.out} is a model. Next: name it in params.yaml, base.source and files.base")


@dataclass(frozen=True, kw_only=True)
class ExportCheckpoint:
    """A model folder, with a subject's components, to published .pth files."""

    base: Path
    unet: Path | None = None
    """folder of finetune-unet"""
    vae: Path | None = None
    """folder of finetune-vae"""
    out: Path

    def run(self) -> None:
        from dreampose_core.published import export_published

        export_published(**vars(self))


@dataclass(frozen=True)
class StartAutoencoder:
    """Recipe: the small autoencoder as the patch PCA of a mannequin shard."""

    architecture: Path
    data: Path
    out: Path
    seed: int = 0

    def run(self) -> None:
        from dreampose_core.train_autoencoder import start_autoencoder

        start_autoencoder(**vars(self))


@dataclass(frozen=True, kw_only=True)
class TrainDecoder(TrainingSettings):
    """Recipe: the small autoencoder's decoder; the latents stay what they are."""

    vae: Path
    """folder of start-autoencoder"""
    data: Path
    validation: Path
    out: Path

    def run(self) -> None:
        from dreampose_core.train_autoencoder import train_decoder

        train_decoder(self.vae, self.data, self.validation, self.out, group(TrainingSettings, self))


@dataclass(frozen=True)
class EncodeShard:
    """Recipe: latents, pose maps and warped references of a shard, computed once."""

    architecture: Path
    vae: Path
    data: Path
    out: Path
    subjects: int = 0
    """the first so many; 0 for all"""
    seed: int = 0
    workers: int = 1
    """processes that warp"""

    def run(self) -> None:
        from dreampose_core.encode_shard import encode_shard

        encode_shard(**vars(self))


@dataclass(frozen=True)
class DraftShard:
    """Recipe: what a base draws of a shard it was not trained on."""

    base: Path
    decoder: Path
    data: Path
    out: Path
    subjects: int = 0
    """the first so many; 0 for all"""
    seed: int = 0
    workers: int = 0
    """processes; 0 for as many as cores"""

    def run(self) -> None:
        from dreampose_core.draft_shard import draft_shard

        draft_shard(**vars(self))


@dataclass(frozen=True, kw_only=True)
class TrainDetail(TrainingSettings):
    """Recipe: the detail network, on drafts."""

    architecture: Path
    data: Path
    drafts: Path
    validation: Path
    validation_drafts: Path
    out: Path

    def run(self) -> None:
        from dreampose_core.train_detail import train_detail

        train_detail(
            self.architecture, self.data, self.drafts, self.validation, self.validation_drafts,
            self.out, group(TrainingSettings, self),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainBase(NoiseSettings, TrainingSettings):
    """Recipe: the small base model on an encoded shard."""

    architecture: Path
    vae: Path
    data: Path
    encoded: Path
    validation: Path
    validation_encoded: Path
    out: Path
    start: Path | None = None
    """model folder to go on from"""

    def run(self) -> None:
        from dreampose_core.train_base import train_base

        train_base(
            self.architecture,
            self.vae,
            self.data,
            self.encoded,
            self.validation,
            self.validation_encoded,
            self.out,
            self.start,
            group(NoiseSettings, self),
            group(TrainingSettings, self),
        )


@dataclass(frozen=True, kw_only=True)
class Benchmark(Sampling, NoiseSettings):
    """Benchmark: the frames of every method at one task level, on a mannequin shard."""

    model: Path
    data: Path
    """shard of held-out subjects: photos from the first clip, poses and truth of the others"""
    out: Path
    level: Literal["zero-shot", "one-photo", "five-frames"] = "zero-shot"
    methods: tuple[str, ...] = ()
    """only these of the level's"""
    subjects: int = 0
    """the first so many; 0 for all"""
    scheduler: Scheduler = "base"
    """base keeps the model's own"""
    batch_size: int = 0
    """taken for the sake of params.yaml: a clip is sampled at once"""
    finetune_steps: int = 40
    finetune_rate: float = 2e-5
    finetune_batch: int = 8
    finetune_seed: int = 0
    workers: int | None = None
    """processes; all cores unless given"""

    def run(self) -> None:
        from dreampose_core.benchmark import Recipe, benchmark

        training = TrainingSettings(
            steps=self.finetune_steps,
            batch_size=self.finetune_batch,
            learning_rate=self.finetune_rate,
            seed=self.finetune_seed,
        )
        recipe = Recipe(group(Sampling, self), self.scheduler, training, group(NoiseSettings, self))
        benchmark(
            self.model, self.data, self.out, self.level, recipe, self.methods, self.subjects,
            self.workers,
        )  # fmt: skip


@dataclass(frozen=True)
class BenchmarkTable:
    """Benchmark: figures, tables, curves and sheets of the frames that `benchmark` made."""

    data: Path
    frames: tuple[Path, ...]
    """folders of `benchmark`, one a level"""
    out: Path
    estimated: Path | None = None
    """folder of `densepose_prep estimate`"""
    workers: int | None = None
    """processes; all cores unless given"""

    def run(self) -> None:
        from dreampose_core.benchmark_table import benchmark_table

        benchmark_table(**vars(self))


@dataclass(frozen=True, kw_only=True)
class Promote:
    """Recipe: make a trained model the shipped one."""

    base: Path
    decoder: Path
    detail: Path
    iuv: Path
    out: Path
    curves: Path
    """folder for the curves of the trainings"""

    def run(self) -> None:
        from dreampose_core.promote import promote

        promote(**vars(self))


VERBS = {
    "frames": Frames,
    "base": Base,
    "finetune-unet": FinetuneUnet,
    "finetune-vae": FinetuneVae,
    "encode-clips": EncodeClips,
    "finetune-base": FinetuneBase,
    "sample": Sample,
    "sweep": Sweep,
    "assemble": Assemble,
    "evaluate": Evaluate,
    "compare": Compare,
    "import-checkpoint": ImportCheckpoint,
    "export-checkpoint": ExportCheckpoint,
    "start-autoencoder": StartAutoencoder,
    "train-decoder": TrainDecoder,
    "encode-shard": EncodeShard,
    "train-base": TrainBase,
    "draft-shard": DraftShard,
    "train-detail": TrainDetail,
    "benchmark": Benchmark,
    "benchmark-table": BenchmarkTable,
    "promote": Promote,
}

if __name__ == "__main__":
    sys.exit(main("python -m dreampose_core", VERBS))
