"""Crops grown to the model's shape, and results put back into the subject's picture."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.images import Fit
from dreampose_core.framing import Canvas, model_fit, union

sides = st.integers(8, 2000)


@st.composite
def crops(draw, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A crop inside a picture of `size` (height, width)."""
    x = sorted(draw(st.tuples(*[st.integers(0, size[1])] * 2).filter(lambda p: p[0] != p[1])))
    y = sorted(draw(st.tuples(*[st.integers(0, size[0])] * 2).filter(lambda p: p[0] != p[1])))
    return x[0], y[0], x[1], y[1]


@st.composite
def framings(draw):
    """A picture's size, a model's size and a person's crop."""
    source = draw(st.tuples(sides, sides))
    model = draw(st.sampled_from([(640, 512), (160, 128), (64, 48), (64, 64), (96, 192)]))
    return source, model, draw(crops(source))


def test_by_hand():
    def crop(source, person):
        return model_fit(source, (160, 128), person).crop

    assert crop((400, 800), (300, 100, 350, 300)) == (245, 100, 405, 300)  # widened to 4:5
    assert crop((400, 800), (0, 100, 50, 300)) == (0, 100, 160, 300)  # not past the left edge
    assert crop((400, 800), (750, 100, 800, 300)) == (640, 100, 800, 300)
    assert crop((800, 400), (100, 300, 260, 340)) == (100, 220, 260, 420)  # heightened
    assert crop((400, 300), (10, 10, 290, 390)) == (0, 0, 300, 400)  # fills it anyway
    assert crop((400, 300), None) == (0, 0, 300, 400)


@given(framings())
def test_the_person_stays_in_and_the_crop_too(framing):
    source, model, person = framing
    fit = model_fit(*framing)
    x0, y0, x1, y1 = fit.crop
    assert (fit.source, fit.size) == (source, model)
    assert 0 <= x0 <= person[0] < person[2] <= x1 <= source[1]
    assert 0 <= y0 <= person[1] < person[3] <= y1 <= source[0]


@given(framings())
def test_the_crop_has_the_model_s_shape_as_far_as_the_picture_reaches(framing):
    source, model, _ = framing
    fit = model_fit(*framing)
    x0, y0, x1, y1 = fit.crop
    width, height = x1 - x0, y1 - y0
    if fit.crop == (0, 0, source[1], source[0]):
        return
    assert width * height <= 0.6 * source[0] * source[1]
    if width < source[1]:
        assert width >= height * model[1] / model[0] - 1 - model[1] / model[0]
    if height < source[0]:
        assert height >= width * model[0] / model[1] - 1


@given(framings())
def test_no_more_than_is_needed(framing):
    source, model, person = framing
    fit = model_fit(*framing)
    if fit.crop == (0, 0, source[1], source[0]):
        return
    tall, wide = person[3] - person[1], person[2] - person[0]
    scale = max(tall / model[0], wide / model[1])
    assert fit.crop[3] - fit.crop[1] <= scale * model[0] + 2 * model[0] / model[1]
    assert fit.crop[2] - fit.crop[0] <= scale * model[1] + 2


@given(st.lists(crops((100, 100)), min_size=1, max_size=4))
def test_union_is_the_smallest_that_holds_all(boxes):
    x0, y0, x1, y1 = union(*boxes)
    covered = np.zeros((100, 100), bool)
    for a, b, c, d in boxes:
        covered[b:d, a:c] = True
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert (x0, y0, x1, y1) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert union(*boxes, None) is None


@given(st.integers(0, 1000), st.integers(0, 40), st.integers(0, 30))
def test_a_result_of_the_crop_s_size_is_put_back_pixel_by_pixel(seed, left, top):
    random = np.random.default_rng(seed)
    picture, result = (
        random.integers(0, 256, (*shape, 3), np.uint8) for shape in ((100, 90), (60, 48))
    )
    before = picture.copy()
    crop = (left, top, left + 48, top + 60)
    canvas = Canvas(picture, Fit((100, 90), (60, 48), crop))
    whole = canvas.put(result)
    assert np.array_equal(picture, before)
    assert np.array_equal(whole[top : top + 60, left : left + 48], result)
    whole[top : top + 60, left : left + 48] = before[top : top + 60, left : left + 48]
    assert np.array_equal(whole, before)


def test_what_is_cut_out_and_put_back_is_the_picture():
    ramps = np.mgrid[0:240, 0:200].sum(0) / 2
    picture = np.stack([ramps, ramps[::-1], np.full_like(ramps, 90)], -1).astype(np.uint8)
    for person in (None, (80, 60, 120, 160)):
        fit = model_fit((240, 200), (160, 128), person)
        back = Canvas(picture, fit).put(fit.apply(picture))
        assert np.abs(back.astype(int) - picture).max() <= 3
