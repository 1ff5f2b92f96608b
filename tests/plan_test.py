"""The plan's arithmetic, its refusals, and the decision what to restore."""

import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from steady_bert import unfreezing
from steady_bert.base.errors import UserError
from steady_bert.training import plan as plans
from steady_bert.training import resume
from steady_bert.training.plan import PlanConfig, make_plan, rates
from steady_bert.training.resume import FolderState, compare, decide


def plan_of(examples=3668, **config):
    return make_plan(
        PlanConfig(**config), examples, {"labels": ["0", "1"], "init_checkpoint": "a"}, {"padding": "longest"}
    )


def test_mrpc_has_upstreams_numbers():
    plan = plan_of()
    assert (plan.num_train_steps, plan.schedule.num_warmup_steps, plan.schedule.lr_decay_steps) == (343, 34, 343)
    assert "3,668 examples / 32 = 114.6 an epoch × 3 epochs → 343 (rounded down as upstream)" in plan.derivation[0]


@hypothesis.given(
    examples=st.integers(1, 100000),
    batch=st.integers(1, 512),
    epochs=st.floats(0.1, 20),
    proportion=st.floats(0, 0.9),
    extra=st.integers(0, 1000),
    peak=st.floats(1e-7, 1.0),
)
@hypothesis.settings(max_examples=200)
def test_rates_follow_the_closed_form(examples, batch, epochs, proportion, extra, peak):
    steps = int(examples / batch * epochs)
    hypothesis.assume(1 <= steps <= 20000)
    horizon = steps + extra
    warmup = int(horizon * proportion)
    hypothesis.assume(warmup < steps)
    plan = make_plan(
        PlanConfig(
            train_batch_size=batch,
            num_train_epochs=epochs,
            lr_decay_steps=horizon,
            warmup_proportion=proportion,
            learning_rate=peak,
        ),
        examples,
        {},
        {},
    )
    expected = [peak * t / warmup if t < warmup else peak * (1 - t / horizon) for t in range(steps)]
    curve = rates(plan)
    assert np.abs(curve - expected).max() <= 1e-6 * peak
    assert np.all((curve > 0) == (np.array(expected) > 0))


@pytest.mark.parametrize(
    "config, said",
    [
        (dict(num_train_steps=10, num_train_epochs=2.0), "--num_train_steps and --num_train_epochs"),
        (dict(num_warmup_steps=1, warmup_proportion=0.2), "--num_warmup_steps and --warmup_proportion"),
        (dict(eval_every_steps=1, eval_every_epochs=2.0), "--eval_every_steps and --eval_every_epochs"),
        (dict(num_train_epochs=0.001), "less than one update"),
        (dict(label_smoothing=1.0), "nothing would be left of the label"),
        (dict(unfreeze_schedule="5"), "'5' is not step=layers"),
        (dict(unfreeze_schedule="5=0"), "'5=0' is not step=layers"),
        (dict(unfreeze_schedule="5=2,9=2"), "steps and layers have to rise"),
        (dict(unfreeze_schedule="5=all,9=2"), "steps and layers have to rise"),
        (dict(num_train_steps=100, lr_decay_steps=50), "Raise --lr_decay_steps to 100"),
        (dict(num_train_steps=100, num_warmup_steps=100), "Warm-up of 100 steps"),
        (dict(end_learning_rate=1.0), "--end_learning_rate=1 is above"),
        (dict(do_eval=False, early_stopping_patience=2), "pass --do_eval too"),
        (dict(lr_schedule="constant", lr_decay_steps=500), "--lr_decay_steps: --lr_schedule=constant does not read it"),
        (dict(lr_schedule="inverse_sqrt", lr_decay_steps=500), "--lr_schedule=inverse_sqrt does not read it"),
        (dict(lr_schedule="constant", end_learning_rate=1e-6), "--end_learning_rate: --lr_schedule=constant"),
        (dict(lr_schedule="cosine", decay_power=2.0), "--decay_power: --lr_schedule=cosine"),
        (dict(lr_schedule="cosine", num_train_steps=100, lr_decay_steps=50), "Raise --lr_decay_steps to 100"),
        (dict(lr_schedule="constant", decay_begin="warmup_end"), "--decay_begin: --lr_schedule=constant"),
        (dict(lr_boundaries=(10,)), "--lr_boundaries: --lr_schedule=polynomial does not read it"),
        (dict(lr_schedule="piecewise", lr_boundaries=(10,), lr_values=(1.0,)), "one rate more"),
        (dict(lr_schedule="piecewise", lr_boundaries=(10, 10), lr_values=(1.0, 0.5, 0.1)), "as rising steps"),
        (dict(lr_schedule="piecewise", lr_boundaries=(10,), lr_values=(1.0, 0.0)), "nothing is learned at a rate of 0"),
        (dict(lr_schedule="plateau", do_eval=False), "pass --do_eval, and --eval_every_steps above 0"),
        (dict(lr_schedule="plateau", eval_every_steps=0), "follows the scores on dev"),
        (dict(plateau_patience=3), "--plateau_patience: --lr_schedule=polynomial does not read it"),
        (dict(lr_schedule="exponential"), "give an --end_learning_rate above it"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(config, said):
    with pytest.raises(UserError) as error:
        plan_of(**config)
    assert said in str(error.value)


def test_warnings_name_the_step_and_the_flag():
    plan = plan_of(num_train_steps=100, lr_decay_steps=50, end_learning_rate=1e-6)
    assert "is 1e-06 from step 50 to the end at step 100" in plan.warnings[0]
    assert "Lower --train_batch_size" in plan_of(examples=10, num_train_steps=5).warnings[0]


def test_the_plan_says_that_the_peak_is_not_reached():
    assert "--learning_rate=5e-05 itself is not reached" in plans.describe(plan_of())
    assert "not reached" not in plans.describe(plan_of(num_warmup_steps=0))


def test_a_plan_survives_json():
    plan = plan_of(num_train_steps=7)
    assert plans.from_json(json.loads(json.dumps(plans.to_json(plan))), "plan.json") == plan
    with pytest.raises(UserError, match="plan.json: not a plan"):
        plans.from_json({"examples": 1}, "plan.json")


# A plan.json of a run that was planned before the numbers of the schedule had a class of their own.
OLDER_PLAN = """{"examples": 3668, "train_batch_size": 32, "num_train_steps": 343, "lr_decay_steps": 343,
"num_warmup_steps": 34, "learning_rate": 5e-05, "end_learning_rate": 0.0, "decay_power": 1.0,
"lr_schedule": "polynomial", "decay_begin": "zero", "decay_cycle": false, "lr_boundaries": [], "lr_values": [],
"plateau_factor": 0.1, "plateau_patience": 2, "plateau_min_delta": 0.0004, "eval_every_steps": 115,
"save_checkpoints_steps": 1000, "early_stopping_patience": 0, "seed": 12345, "shuffle": true,
"identity": {"labels": ["0", "1"], "init_checkpoint": "a"}, "notes": {"padding": "longest"},
"derivation": ["steps: 343"], "warnings": []}"""


def test_an_older_folders_plan_is_read_and_compares_equal():
    older = plans.from_json(json.loads(OLDER_PLAN), "plan.json")
    assert compare(older, plan_of()) == []
    assert np.array_equal(rates(older), rates(plan_of()))
    assert set(plans.to_json(plan_of())) == set(json.loads(OLDER_PLAN))


CHANGES = [
    (dict(seed=1), "seed: 12345 → 1"),
    (dict(train_batch_size=64), "train_batch_size: 32 → 64"),
    (dict(num_train_epochs=4.0), "lr_decay_steps: 343 → 458"),
    (dict(lr_decay_steps=400), "lr_decay_steps: 343 → 400"),
    (dict(num_warmup_steps=10), "num_warmup_steps: 34 → 10"),
    (dict(learning_rate=1e-4), "learning_rate: 5e-05 → 0.0001"),
    (dict(end_learning_rate=1e-6), "end_learning_rate: 0.0 → 1e-06"),
    (dict(decay_power=2.0), "decay_power: 1.0 → 2.0"),
    (dict(shuffle=False), "shuffle: True → False"),
    (dict(batching="grouped"), "batching: permutation → grouped"),
    (dict(examples=3667), "examples: 3668 → 3667"),
]


@pytest.mark.parametrize("config, said", CHANGES)
def test_a_change_that_moves_the_rate_or_the_order_is_refused(config, said):
    with pytest.raises(UserError) as error:
        decide(FolderState(step=100, plan=plan_of()), plan_of(**config), False, allow_plan_change=False)
    assert said in str(error.value)
    assert "at step 100: lr 3.54e-05 → " in str(error.value)
    allowed = decide(FolderState(step=100, plan=plan_of()), plan_of(**config), False, allow_plan_change=True)
    assert allowed.plan_changed
    assert allowed.action == "continue"
    assert said in allowed.reason


def test_a_plan_of_grouped_batches_says_so_and_keeps_its_batch_size():
    grouped = plan_of(batching="grouped")
    assert "order: batches of similar length" in plans.describe(grouped)
    assert plans.from_json(json.loads(json.dumps(plans.to_json(grouped))), "plan.json") == grouped
    exact = decide(FolderState(100, grouped), grouped, False, False)
    assert exact.action == "continue" and not exact.plan_changed
    with pytest.raises(UserError, match="batching: grouped → permutation"):
        decide(FolderState(100, grouped), plan_of(), False, False)
    back = decide(FolderState(100, grouped), plan_of(train_batch_size=16), False, True)
    assert "this epoch repeats some examples and leaves others out" in back.reason
    with pytest.raises(UserError, match="--train_batch_size=16: the run's batches are groups of 32"):
        decide(FolderState(100, grouped), plan_of(batching="grouped", train_batch_size=16), False, True)


def test_the_rate_that_plateau_scales_is_shown_as_such():
    """A plan does not know the scale, which is state."""
    plans_of_plateau = [plan_of(lr_schedule="plateau", learning_rate=rate) for rate in (5e-5, 1e-4)]
    with pytest.raises(UserError) as error:
        decide(FolderState(100, plans_of_plateau[0]), plans_of_plateau[1], False, False)
    assert "at step 100: lr 5e-05 times plateau's scale → 0.0001 times plateau's scale" in str(error.value)


def test_a_changed_identity_is_named():
    other = make_plan(PlanConfig(), 3668, {"labels": ["0", "1", "2"], "init_checkpoint": "a"}, {})
    assert [str(d) for d in compare(plan_of(), other)] == ["labels: ['0', '1'] → ['0', '1', '2']"]
    parts = [make_plan(PlanConfig(num_train_steps=5), 9, {"data": {"length": n, "source": "a"}}, {}) for n in (64, 128)]
    assert [str(d) for d in compare(*parts)] == ["data.length: 64 → 128"]
    words, characters, neither = (
        make_plan(PlanConfig(num_train_steps=5), 9, identity, {})
        for identity in ({"score_by": "words"}, {"score_by": "characters"}, {})  # the last one evaluates nothing
    )
    assert [str(d) for d in compare(words, characters)] == ["score_by: words → characters"]
    assert compare(words, neither) == compare(neither, characters) == []


def test_a_changed_dev_file_is_shown_and_refused_where_it_moves_the_rate():
    def with_dev(source, **changed):
        return make_plan(PlanConfig(**changed), 3668, {"dev": {"source": source}} if source else {}, {})

    for changed in (dict(early_stopping_patience=2), dict(lr_schedule="cosine")):
        decision = decide(FolderState(100, with_dev("a", **changed)), with_dev("b", **changed), False, False)
        assert decision.reason.endswith("changed: dev.source: a → b")
    plateau = dict(lr_schedule="plateau")
    old, new, older = (with_dev(source, **plateau) for source in ("a", "b", None))
    with pytest.raises(UserError, match="  dev.source: a → b\n.*times plateau's scale"):
        decide(FolderState(100, old), new, False, False)
    assert "dev.source: a → b" in decide(FolderState(100, old), new, False, True).reason
    assert decide(FolderState(343, old), new, False, False).action == "finished"
    assert "changed" not in decide(FolderState(100, older), new, False, False).reason


def test_upstreams_trap_is_refused_with_the_remedy_in_numbers():
    with pytest.raises(UserError) as error:
        decide(FolderState(343, plan_of()), plan_of(train_batch_size=64), False, False)
    assert (
        "3.0 epochs of batch 64 end at step 171; this run is at step 343: pass --num_train_epochs=9 or "
        "--num_train_steps=514 " in str(error.value)
    )
    assert "0 (the run ends at step 171)" in str(error.value)


@pytest.mark.parametrize(
    "state, config, weights, allow, action",
    [
        (FolderState(None, None), {}, True, False, "start"),
        (FolderState(None, plan_of()), {}, True, False, "start"),  # killed before its first checkpoint
        (FolderState(100, plan_of()), {}, False, False, "continue"),
        (FolderState(100, plan_of()), {}, True, False, "continue"),
        (FolderState(343, plan_of()), {}, True, False, "finished"),
        (FolderState(343, plan_of(), evaluated=False), {}, True, False, "continue"),
        (FolderState(100, None), {}, True, True, "continue"),
        (FolderState(100, plan_of(), True), dict(early_stopping_patience=2), True, False, "finished"),
        # the stop step alone moves no rate: it is harmless
        (
            FolderState(100, plan_of(lr_decay_steps=400)),
            dict(num_train_steps=390, lr_decay_steps=400),
            True,
            False,
            "continue",
        ),
        (
            FolderState(100, plan_of(lr_schedule="constant", num_warmup_steps=34)),
            dict(num_train_epochs=9, lr_schedule="constant", num_warmup_steps=34),
            True,
            False,
            "continue",
        ),
        (FolderState(100, plan_of()), dict(eval_every_steps=7, save_checkpoints_steps=9), True, False, "continue"),
    ],
)
def test_decisions(state, config, weights, allow, action):
    decision = decide(state, plan_of(**config), weights, allow)
    assert decision.action == action
    assert decision.reason


@pytest.mark.parametrize(
    "state, weights, said",
    [
        (FolderState(None, None), False, "Pass --init_checkpoint, or --from_scratch"),
        (FolderState(100, None), True, "no plan.json"),
    ],
)
def test_undecidable_folders_are_refused(state, weights, said):
    with pytest.raises(UserError, match=said):
        decide(state, plan_of(), weights, False)


RUN, DONE, NO_RUN = FolderState(100, plan_of()), FolderState(343, plan_of()), FolderState(None, None)


@pytest.mark.parametrize(
    "mode, state, outcome",
    [
        ("auto", NO_RUN, "start"),
        ("auto", RUN, "continue"),
        ("auto", DONE, "finished"),
        ("exact", NO_RUN, "--resume_mode=exact: --output_dir holds no run"),
        ("exact", RUN, "continue"),
        ("exact", DONE, "finished"),
        ("weights", NO_RUN, "start"),
        ("weights", RUN, "continue"),
        ("weights", DONE, "finished"),
        ("fresh", NO_RUN, "start"),
        ("fresh", RUN, "--resume_mode=fresh: --output_dir holds a run at step 100"),
        ("fresh", DONE, "--resume_mode=fresh: --output_dir holds a run at step 343"),
    ],
)
def test_every_cell_of_the_table_of_resume_modes(mode, state, outcome):
    if outcome.startswith("--"):
        with pytest.raises(UserError, match=outcome):
            decide(state, plan_of(), True, False, mode)
    else:
        assert decide(state, plan_of(), True, False, mode).action == outcome


def test_a_stage_knows_its_number_and_warns_of_a_start_at_full_rate():
    first = plan_of()
    second, lines = resume.next_stage(plan_of(learning_rate=1e-5, num_warmup_steps=0), first, "a/model.ckpt-343", False)
    assert second.notes["stage"] == 2 and second.notes["weights from"] == "a/model.ckpt-343"
    assert "learning_rate: 5e-05 → 1e-05" in lines and "starts at full rate" in second.warnings[-1]
    third, _ = resume.next_stage(plan_of(), second, "b/model.ckpt-9", False)
    assert third.notes["stage"] == 3 and not third.warnings
    for corrected, source in ((True, first), (True, None)):
        plan, lines = resume.next_stage(plan_of(num_warmup_steps=0), source, "x", corrected)
        assert not plan.warnings and plan.notes["stage"] == 2


def test_an_unfreezing_fits_the_model_and_the_run():
    def planned(schedule):
        identity = {"bert_config": {"num_hidden_layers": 4}}
        return make_plan(PlanConfig(num_train_steps=10, unfreeze_schedule=schedule), 100, identity, {})

    depths = {"head": 0, "layer_3": 1, "layer_0": 4, "embeddings": 5}
    steps = {"3=1,5=4": [0, 3, 5, unfreezing.NEVER], "3=1,5=all": [0, 3, 5, 5], "0=4": [0, 0, 0, unfreezing.NEVER]}
    for schedule, expected in steps.items():
        assert list(unfreezing.thaw_steps(planned(schedule).unfreeze_schedule, depths).values()) == expected
    said = plans.describe(planned("3=1,5=4"))
    assert "the highest layer from step 3, the highest 4 layers from step 5; the rest stays as it is" in said
    for schedule, message in (("3=5", "the model has 4 layers"), ("10=all", "step 10 is not reached")):
        with pytest.raises(UserError, match=message):
            planned(schedule)


def test_regularizers_are_in_the_plan_only_if_they_are_on_and_a_change_is_refused():
    off, on = plan_of(), plan_of(fgm_epsilon=0.5, rdrop_alpha=1.0, label_smoothing=0.1, unfreeze_schedule="5=2")
    assert not set(plans.to_json(off)) & {"fgm_epsilon", "focal_gamma", "unfreeze_schedule"}
    assert plans.from_json(json.loads(json.dumps(plans.to_json(on))), "plan.json") == on
    assert [str(d) for d in compare(off, on)] == [
        "label_smoothing: 0.0 → 0.1",
        "fgm_epsilon: 0.0 → 0.5",
        "rdrop_alpha: 0.0 → 1.0",
        "unfreeze_schedule: (none) → 5=2",
    ]
    assert not any(difference.harmless for difference in compare(off, on))
    with pytest.raises(UserError, match="plan.json: --unfreeze_schedule: 'x' is not step=layers"):
        plans.from_json(dict(plans.to_json(on), unfreeze_schedule="x"), "plan.json")
