import pytest
import torch

from gligen.gate import GatedSelfAttention
from gligen.inject import Run
from gligen.sampler import (
    SCHEDULERS,
    Condition,
    SamplerSettings,
    Start,
    initial_noise,
    make_scheduler,
    sample,
)
from grounding.errors import LavallamaError
from tests.gligen import tiny

SETTINGS = SamplerSettings(steps=6, guidance=3.0, schedule=(0.5, 0.25, 0.25))
SIZE = (4, 8, 12)


@pytest.fixture
def model():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet)
    with adapter.injected(unet):
        yield unet, adapter


def scene(adapter, batch=4, words=90):
    """Noise, condition and negative condition of different prompts and layouts; no grad."""
    noise = initial_noise([torch.Generator().manual_seed(seed) for seed in range(batch)], SIZE)
    torch.manual_seed(7)
    prompts, nothing = torch.randn(2, batch, words, tiny.WIDTH)
    tokens = adapter.tokens(*tiny.layout(batch)).detach()
    return noise, Condition(context=prompts, tokens=tokens), Condition(context=nothing)


def part(condition, rows):
    tokens = None if condition.tokens is None else condition.tokens[rows]
    return Condition(context=condition.context[rows], tokens=tokens)


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_a_batch_equals_its_images_alone_and_in_any_order(model, name):
    unet, adapter = model
    noise, positive, negative = scene(adapter)
    scheduler = make_scheduler(name, tiny.DIFFUSION)

    def run(rows):
        seeds = [torch.Generator().manual_seed(50 + row) for row in rows]
        return sample(
            unet,
            scheduler,
            Start(noise=noise[rows], generators=seeds),
            part(positive, rows),
            part(negative, rows),
            settings=SETTINGS,
            adapter=adapter,
        )

    together = run([0, 1, 2, 3])
    shuffled = run([2, 0, 3, 1])
    alone = torch.cat([run([index]) for index in range(4)])
    scale = together.abs().max()
    assert (together - alone).abs().max() / scale < 1e-5
    assert (together[[2, 0, 3, 1]] - shuffled).abs().max() / scale < 1e-5
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_memories_change_nothing(model, monkeypatch):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=2)
    scheduler = make_scheduler("ddim", tiny.DIFFUSION)
    arguments = (unet, scheduler, noise, positive, negative)
    remembered = sample(*arguments, settings=SETTINGS, adapter=adapter)
    monkeypatch.setattr(Run, "recall", lambda _, owner, source, compute: compute())
    assert torch.equal(sample(*arguments, settings=SETTINGS, adapter=adapter), remembered)


def spy(unet, adapter):
    """Batch sizes of the UNet's calls, and scales of its gates."""
    batches, scales = [], []
    unet.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
    first = next(module for module in adapter.modules() if isinstance(module, GatedSelfAttention))
    first.register_forward_pre_hook(lambda _, __, kw: scales.append(kw["scale"]), with_kwargs=True)
    return batches, scales


def test_guidance_is_one_batched_call_and_none_at_one(model):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=2)
    batches, _ = spy(unet, adapter)
    scheduler = make_scheduler("ddim", tiny.DIFFUSION)
    sample(unet, scheduler, noise, positive, negative, settings=SETTINGS, adapter=adapter)
    assert batches == [4] * 6
    batches.clear()
    settings = SamplerSettings(steps=3, guidance=1.0)
    alone = sample(unet, scheduler, noise, positive, settings=settings, adapter=adapter)
    assert batches == [2] * 3
    ignored = sample(unet, scheduler, noise, positive, negative, settings=settings, adapter=adapter)
    assert torch.equal(alone, ignored)


def test_gates_follow_the_schedule_and_are_not_called_when_off(model):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=1)
    _, scales = spy(unet, adapter)
    settings = SamplerSettings(steps=4, guidance=2.0, schedule=(0.25, 0.5, 0.25))
    for name, expected in (("ddim", [1, 0.5]), ("plms", [1, 1, 0.5])):
        scales.clear()
        sample(
            unet,
            make_scheduler(name, tiny.DIFFUSION),
            noise,
            positive,
            negative,
            settings=settings,
            adapter=adapter,
        )
        assert scales == expected


def test_without_regions_it_is_the_plain_model(model):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=2)
    plain = Condition(context=positive.context)
    scheduler = make_scheduler("plms", tiny.DIFFUSION)
    ours = sample(unet, scheduler, noise, plain, negative, settings=SETTINGS, adapter=adapter)
    adapter.eject()
    assert torch.equal(sample(unet, scheduler, noise, plain, negative, settings=SETTINGS), ours)


def test_schedulers_are_used_fresh_and_left_alone(model):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=1)
    scheduler = make_scheduler("plms", tiny.DIFFUSION)
    scheduler.set_timesteps(20)
    before = scheduler.timesteps.clone()
    results = [
        sample(unet, scheduler, noise, positive, negative, settings=SETTINGS, adapter=adapter)
        for _ in range(2)
    ]
    assert torch.equal(*results)
    assert torch.equal(scheduler.timesteps, before)
    assert scheduler.counter == 0


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_few_steps(model, name, steps):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=1)
    seen = []
    latents = sample(
        unet,
        make_scheduler(name, tiny.DIFFUSION),
        Start(noise=noise, generators=[torch.Generator().manual_seed(0)]),
        positive,
        negative,
        settings=SamplerSettings(steps=steps, schedule=(1, 0, 0)),
        adapter=adapter,
        on_step=lambda done, total, _: seen.append((done, total)),
    )
    assert latents.isfinite().all()
    total = len(seen)
    assert steps <= total <= steps + 1
    assert seen == [(index + 1, total) for index in range(total)]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_schedulers_keep_what_the_model_was_trained_for(name, prediction):
    scheduler = make_scheduler(name, {**tiny.DIFFUSION, "prediction_type": prediction,
                                      "_class_name": "PNDMScheduler"})  # fmt: skip
    assert scheduler.config.prediction_type == prediction
    assert scheduler.config.beta_end == 0.012
    assert not scheduler.config.get("clip_sample", False)


def test_noise_belongs_to_its_generator():
    def generators(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    both = initial_noise(generators(1, 2), SIZE)
    assert both.shape == (2, *SIZE)
    assert torch.equal(both[1:], initial_noise(generators(2), SIZE))


def test_sdxl_takes_its_added_conditions():
    unet = tiny.unet("sdxl")
    adapter = tiny.open_adapter(unet)
    noise, positive, negative = scene(adapter, batch=2, words=5)
    added = {"text_embeds": torch.randn(2, 16), "time_ids": torch.rand(2, 6)}
    positive = Condition(context=positive.context, tokens=positive.tokens, added=added)
    negative = Condition(context=negative.context, added=added)
    with adapter.injected(unet):
        latents = sample(
            unet,
            make_scheduler("unipc", tiny.DIFFUSION),
            noise,
            positive,
            negative,
            settings=SETTINGS,
            adapter=adapter,
        )
    assert latents.isfinite().all()


def test_impossible_requests_are_one_line(model):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=2)
    scheduler = make_scheduler("ddim", tiny.DIFFUSION)
    short = Condition(context=negative.context[:, :5])
    cases = [
        ({"steps": 0}, negative, adapter, noise, "between 1 and 1000; got 0"),
        ({"steps": -3}, negative, adapter, noise, "between 1 and 1000; got -3"),
        ({"steps": 1001}, negative, adapter, noise, "between 1 and 1000; got 1001"),
        ({"schedule": (1.0, 1.0, 1.0)}, negative, adapter, noise, "three fractions"),
        ({}, None, adapter, noise, "guidance 7.5 contrasts with a negative condition"),
        ({}, short, adapter, noise, r"prompts of both halves .* one shape"),
        ({}, negative, None, noise, "need the adapter that made them"),
        ({}, negative, adapter, noise[:1], "of one batch; got 1 and 2"),
        ({"guidance": 1.0}, None, adapter, noise[:1], "of one batch; got 1 and 2"),
    ]
    for changes, other, with_adapter, start, message in cases:
        settings = SamplerSettings(**changes)
        with pytest.raises(LavallamaError, match=message) as caught:
            sample(unet, scheduler, start, positive, other, settings=settings, adapter=with_adapter)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        LavallamaError, match="one of plms, ddim, dpm\\+\\+, unipc, lcm; got 'euler'"
    ):
        make_scheduler("euler", tiny.DIFFUSION)
    offset = make_scheduler("plms", {**tiny.DIFFUSION, "steps_offset": 1})
    with pytest.raises(LavallamaError, match="1000 steps reach beyond"):
        sample(unet, offset, noise, positive, negative, settings=SamplerSettings(steps=1000))


def test_stochastic_steps_need_a_generator_for_each_image(model):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=2)
    scheduler = make_scheduler("lcm", tiny.DIFFUSION)
    before = torch.get_rng_state()
    with pytest.raises(LavallamaError, match="expected a Start with 2 generators, got 0"):
        sample(unet, scheduler, noise, positive, negative, settings=SETTINGS, adapter=adapter)
    with pytest.raises(LavallamaError, match="at most 50 steps; got 51"):
        sample(unet, scheduler, noise, positive, settings=SamplerSettings(steps=51, guidance=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_a_weak_start_stays_near_its_picture_and_gates_see_the_steps_that_are_taken(model, name):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=2)
    picture = torch.randn(noise.shape, generator=torch.Generator().manual_seed(9))
    batches, scales = spy(unet, adapter)

    def run(strength):
        batches.clear()
        scales.clear()
        seeds = [torch.Generator().manual_seed(row) for row in range(2)]
        return sample(
            unet,
            make_scheduler(name, tiny.DIFFUSION),
            Start(noise=noise, picture=picture, generators=seeds),
            positive,
            negative,
            settings=SamplerSettings(
                steps=10, guidance=2.0, schedule=(0.5, 0, 0.5), strength=strength
            ),
            adapter=adapter,
        )

    far = [(run(strength) - picture).abs().mean().item() for strength in (1.0, 0.6, 0.1)]
    assert far[0] > far[1] > far[2]
    assert len(batches) == 1
    assert scales == []  # half of one step is none
    assert torch.equal(run(0.6), run(0.6))
    extra = int(name == "plms")  # which evaluates the model twice in its first step
    assert len(batches) == 6 + extra
    assert scales == [1] * (3 + extra)


def test_plms_begins_anew_wherever_it_starts():
    """Its first step, of two evaluations, is the one that is taken first."""
    scheduler, noise = make_scheduler("plms", tiny.DIFFUSION), torch.randn(1, *SIZE)
    seen = []

    def linear(latents, timestep, **_):
        seen.append(int(timestep))
        return (latents * 0.1,)

    for strength, expected in ((1.0, [750, 500, 500, 250, 0]), (0.5, [250, 0, 0]), (0.25, [0])):
        seen.clear()
        sample(
            linear,  # pyright: ignore[reportArgumentType]
            scheduler,
            Start(noise=noise, picture=noise),
            Condition(context=torch.zeros(1, 2, 3)),
            settings=SamplerSettings(steps=4, guidance=1.0, strength=strength),
        )
        assert seen == expected


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.1, float("nan")])
def test_strengths_that_cannot_be(model, strength):
    noise, positive, _ = scene(model[1], batch=1)
    settings = SamplerSettings(guidance=1.0, strength=strength)
    with pytest.raises(LavallamaError, match="strength must be above 0"):
        sample(
            model[0],
            make_scheduler("ddim", tiny.DIFFUSION),
            noise,
            positive,
            settings=settings,
            adapter=model[1],
        )


def test_companions_see_the_whole_batch_and_pass_on_what_others_gave(model):
    unet, adapter = model
    noise, positive, negative = scene(adapter, batch=2)
    seen, given = [], []
    unet.register_forward_pre_hook(lambda _, __, call: given.append(call), with_kwargs=True)

    def first(latents, timestep, call):
        seen.append((len(latents), int(timestep), sorted(call)))
        return {**call, "timestep_cond": None}

    def second(latents, timestep, call):
        seen.append((len(latents), int(timestep), sorted(call)))
        return call

    sample(
        unet,
        make_scheduler("ddim", tiny.DIFFUSION),
        noise,
        Condition(context=positive.context, tokens=positive.tokens, companions=(first, second)),
        negative,
        settings=SamplerSettings(steps=1, guidance=2.0),
        adapter=adapter,
    )
    names = ["added_cond_kwargs", "encoder_hidden_states"]
    assert seen == [(4, 0, names), (4, 0, [*names, "timestep_cond"])]
    assert "timestep_cond" in given[0]
