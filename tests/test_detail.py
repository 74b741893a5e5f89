"""The detail network: what it sees, what it can choose from, and where the pipeline uses it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.mirror import flipped
from common.poses import PARTS
from common.settings import Sampling
from dreampose_core.detail import PIXELS, DetailNetwork, both_ways, pixels
from dreampose_core.model import build, load
from dreampose_core.pixels import decode, to_frames
from dreampose_core.warp import Warped, warp
from mannequin.motion import sample_motion
from mannequin.render import render_clip
from mannequin.subject import sample_subject

pytestmark = pytest.mark.usefixtures("one_thread")

MINI = Path(__file__).parents[1] / "presets/architectures/mini.json"
ONE_STEP = Sampling(steps=1, noise_scale=0)


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """Three frames of a mannequin at the model's size: RGB and IUV."""
    return render_clip(sample_subject(5), sample_motion("sway", 7), frame_indices=[0, 12, 24])


@pytest.fixture(scope="module")
def seen(clip) -> tuple[torch.Tensor, torch.Tensor]:
    """Drafts and what the network sees beside them."""
    rgb, iuv = clip
    drafts = torch.rand(3, 3, 160, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return drafts, pixels(warp(rgb[0], iuv[0], iuv), iuv)


def choosing(picture: int) -> DetailNetwork:
    """A network that takes one of draft, warp and backdrop and adds nothing."""
    network = DetailNetwork().eval()
    with torch.no_grad():
        network.leave.bias.copy_(F.one_hot(torch.tensor(picture), 6) * 100.0)
    return network


def test_planes(clip):
    rgb, iuv = clip
    shares = np.zeros((3, 160, 128, 4), np.float32)
    shares[..., 1], shares[..., 2] = 0.2, 0.6
    planes = pixels(Warped(rgb, rgb[1], shares), iuv).numpy().transpose(0, 2, 3, 1)
    assert planes.shape == (3, 160, 128, PIXELS)
    assert planes.dtype == np.uint8
    assert np.array_equal(planes[..., :3], rgb)
    assert all(np.array_equal(empty, rgb[1]) for empty in planes[..., 3:6])
    assert (planes[..., 6:8] == (51, 153)).all()
    assert np.array_equal(planes[..., 8:], iuv)


@pytest.mark.parametrize("picture", range(3), ids=["draft", "warp", "backdrop"])
def test_each_picture_can_be_taken_as_it_is(seen, picture):
    drafts, planes = seen
    with torch.no_grad():
        made = choosing(picture)(drafts, planes)
    given = torch.cat([drafts, planes[:, :6].float() / 127.5 - 1], 1)
    torch.testing.assert_close(made, given[:, 3 * picture : 3 * picture + 3], atol=1e-5, rtol=0)


def test_begins_near_the_draft(seen):
    with torch.no_grad():
        made = DetailNetwork().eval()(*seen)
    assert (made - seen[0]).abs().max() < 0.08  # e⁴ to 2: 3.5 % of the others, at most 2 away


def test_every_plane_matters(seen):
    """What it is given reaches its output: parts and surface coordinates as well."""
    drafts, planes = seen
    torch.manual_seed(0)
    network = DetailNetwork().eval()
    torch.nn.init.normal_(network.leave.weight)
    with torch.no_grad():
        plain = network(drafts, planes)
        for plane in range(PIXELS):
            changed = planes.clone()
            inside = planes[:, 8] > 0
            changed[:, plane][inside] = (changed[:, plane][inside] + 1) % (PARTS + 1)
            assert not network(drafts, changed).equal(plain), plane


def test_what_the_precision_of_the_model_is_it_keeps(seen):
    drafts, planes = seen
    with torch.no_grad():
        made = choosing(1).to(torch.bfloat16)(drafts.bfloat16(), planes.bfloat16())
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), planes[:, :3].float() / 127.5 - 1, atol=0.02, rtol=0)


def test_both_ways_a_mirrored_picture_gives_the_mirrored_frame(clip, seen):
    rgb, iuv = clip
    drafts, planes = seen
    torch.manual_seed(0)
    network = DetailNetwork().eval()
    torch.nn.init.normal_(network.leave.weight)
    mirrored = np.stack([flipped(*pair)[1] for pair in zip(rgb, iuv, strict=True)])
    turned = planes.flip(-1).clone()
    turned[:, 8:] = torch.from_numpy(mirrored).permute(0, 3, 1, 2)
    with torch.no_grad():
        plain, made = both_ways(network, drafts, planes), network(drafts, planes)
        again = both_ways(network, drafts.flip(-1), turned)
    torch.testing.assert_close(again, plain.flip(-1), atol=1e-5, rtol=1e-5)
    assert (plain - made).abs().max() > 1e-3


class TestInThePipeline:
    def test_frames_are_what_it_makes_of_the_drafts(self, clip):
        rgb, iuv = clip
        model = build(MINI)
        model.register_modules(detail=choosing(1))
        reference = model.look(rgb[0], iuv[0])
        condition = model.pose(reference, iuv)
        frames = model(reference, condition, ONE_STEP)
        assert np.array_equal(frames, warp(rgb[0], iuv[0], iuv).moved)
        model.register_modules(detail=None)
        latents = model.denoise(
            0 * model.initial_noise(0).expand(3, -1, -1, -1), reference, condition, ONE_STEP
        )
        with torch.no_grad():
            drafts = to_frames(decode(model.vae, latents))
        assert np.array_equal(model(reference, condition, ONE_STEP), drafts)

    def test_a_model_folder_has_it_or_not(self, tmp_path):
        model = build(MINI)
        torch.nn.init.normal_(model.detail.leave.weight)
        model.save_pretrained(tmp_path / "with")
        back = load(str(tmp_path / "with")).detail
        assert not back.training
        for name, value in model.detail.state_dict().items():
            assert value.equal(back.state_dict()[name]), name
        model.register_modules(detail=None)
        model.save_pretrained(tmp_path / "without")
        assert not (tmp_path / "without/detail").exists()
        assert load(str(tmp_path / "without")).detail is None
