"""Reading recipes: settings on top, and each mistake as one line."""

import pytest
import yaml
from transformers import BertConfig

from bitbert.checkpoint.architecture import Architecture
from bitbert.errors import RecipeError, SpecError
from bitbert.recipes.schema import Losses, Recipe, Stage, default_recipe, load_recipe, names
from bitbert.search.size import file_bytes
from bitbert.spec import weight_names

ARCHITECTURES = (2, True), (12, False)
HOUSE = ("w8a8", "w4a8", "w4a4", "w2a8", "w1a8", "w1a4", "w1a1")
BERT_BASE = 109_482_240  # parameters, pooler included, no head


@pytest.fixture
def written(tmp_path):
    """Writes a recipe file: `text`, or the packaged kdlsq with `changes`."""

    def write(text=None, **changes):
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(load_recipe("kdlsq").model_dump() | changes) if text is None else text)
        return path

    return write


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("bits", [None, "w8a8", "w4a8", "w3a4"])
def test_every_packaged_recipe_gives_a_spec_that_can_be_packed(name, bits):
    spec = load_recipe(name).spec(bits)
    for layers, pooler in ARCHITECTURES:
        spec.check_packable(layers, pooler)


def test_the_papers_and_post_training_are_there():
    papers = ["kdlsq", "mkq", "q8bert", "q8bert-dynamic", "two-stage", "two-stage-binary"]
    assert names() == sorted([*papers, "ptq", *HOUSE])
    assert load_recipe("q8bert").spec().weights["linear"].bits == 8
    assert load_recipe("kdlsq").spec("w2a8").weights["word_embedding"].bits == 2


@pytest.mark.parametrize(
    ("bits", "recipe"),
    [
        *((bits, bits) for bits in HOUSE),
        ("w6a8", "w4a8"),
        ("w4a6", "w4a4"),
        ("w3a8", "w2a8"),
        ("w2a4", "w1a4"),
        ("w8a2", "w1a1"),
        ("w32a8", "w8a8"),
    ],
)
def test_every_width_has_a_house_recipe(bits, recipe):
    assert default_recipe(bits) == recipe
    if bits in HOUSE:
        assert load_recipe(recipe).bits == bits


@pytest.mark.parametrize(
    ("bits", "settings", "times_smaller"),
    [
        ("w1a8", [], 31),
        ("w1a4", [], 31),
        ("w1a1", [], 31),
        ("w2a8", [], 15.4),
        ("w2a8", ["weights.all.packing=base3"], 19),
    ],
)
def test_how_much_smaller_a_bert_base_becomes(bits, settings, times_smaller):
    config = BertConfig().to_dict() | {"architectures": ["BertModel"]}
    size = file_bytes(Architecture.from_config(config), load_recipe(bits, settings).spec())
    assert 4 * BERT_BASE / size >= times_smaller


def test_a_field_of_a_stage_is_refused_where_there_are_none():
    with pytest.raises(RecipeError, match="setting 'learning_rate=1': the recipe has no stages; give the whole path"):
        load_recipe("ptq", ["learning_rate=1"])
    assert load_recipe("ptq", ["reconstruction.learning_rate=1.0"]).reconstruction.learning_rate == 1


@pytest.mark.parametrize("name", names())
def test_a_recipe_is_what_its_file_says_and_survives_being_written(name, written):
    recipe = load_recipe(name)
    again = load_recipe(written(yaml.safe_dump(recipe.model_dump())))
    assert again == recipe
    assert recipe.name == name


# ---- settings --------------------------------------------------------------------------------------------------------


def test_a_recipe_may_stand_on_another(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: kdlsq\nname: mine\nweights: {linear: {granularity: row}}\n")
    (tmp_path / "on-mine.yaml").write_text("base: mine.yaml\nname: on mine\nbits: w2a8\nstages: [{epochs: 1.0}]\n")
    kdlsq, mine = load_recipe("kdlsq"), load_recipe(tmp_path / "on-mine.yaml")
    assert mine.weights == kdlsq.weights | {"linear": {"granularity": "row"}}
    assert mine.activations == kdlsq.activations
    assert (mine.bits, mine.name, len(mine.stages), mine.stages[0].epochs) == ("w2a8", "on mine", 1, 1.0)


def test_stages_take_from_the_top_level_what_they_do_not_say(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndescription: x\nepochs: 2.0\nlosses: {labels: 0.0, hidden: 3.0}\n"
        "stages: [{}, {epochs: 1.0, losses: {hidden: 4.0}}]\n"
    )
    (tmp_path / "on-mine.yaml").write_text("base: mine.yaml\nname: on mine\nepochs: 5.0\n")
    settings = ["stages.0.losses.scores=7.0"]
    first, second = load_recipe(tmp_path / "mine.yaml", settings).stages
    assert (first.epochs, first.losses.labels, first.losses.hidden, first.losses.scores) == (2.0, 0.0, 3.0, 7.0)
    assert (second.epochs, second.losses.labels, second.losses.hidden, second.losses.scores) == (1.0, 0.0, 4.0, 0.0)
    assert [stage.epochs for stage in load_recipe(tmp_path / "on-mine.yaml").stages] == [5.0, 1.0]


def test_a_recipe_that_stands_on_itself(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(RecipeError, match=r"a\.yaml has more than 8 bases"):
        load_recipe(tmp_path / "a.yaml")


def test_a_field_of_a_stage_alone_holds_for_all_stages(written):
    path = written(stages=[{"epochs": 1.0}, {"epochs": 2.0}])
    recipe = load_recipe(path, ["epochs=5", "losses.hidden=0.5", "dropout=0.2"])
    assert [stage.epochs for stage in recipe.stages] == [5, 5]
    assert [stage.losses.hidden for stage in recipe.stages] == [0.5, 0.5]
    assert load_recipe(path, ["stages.1.epochs=7"]).stages == [Stage(epochs=1.0), Stage(epochs=7.0)]


def test_settings_reach_every_part():
    recipe = load_recipe("kdlsq", ["weights.linear.granularity=row", "calibration.batches=3", "learning_rate=5e-5"])
    assert recipe.spec().weights["linear"].granularity == "row"
    assert recipe.spec().weights["pooler"].granularity == "tensor"
    assert recipe.calibration.batches == 3
    assert recipe.stages[0].learning_rate == 5e-5


def test_overrides_reach_the_spec():
    recipe = load_recipe("kdlsq", ["overrides=[{tensors: encoder.layer.0.*.weight, bits: 8}]"])
    spec = recipe.spec("w2a8")
    assert spec.weight("encoder.layer.0.output.dense.weight").bits == 8
    assert spec.weight("encoder.layer.1.output.dense.weight").bits == 2


def test_a_teacher_is_needed_for_distillation_only():
    assert not Losses().needs_teacher
    assert all(Losses(**{term: 1.0}).needs_teacher for term in Losses.model_fields if term != "labels")


def test_scores_are_kept_for_what_compares_them_only():
    assert [term for term in Losses.model_fields if Losses(**{term: 1.0}).needs_scores] == [
        *("scores", "attention", "last_attention")
    ]


# ---- widths ----------------------------------------------------------------------------------------------------------


def test_a_width_brings_its_fields_and_a_kind_goes_before_it():
    recipe = load_recipe(
        "kdlsq", ["widths={w1: {method: binary}, w2: {method: ternary, granularity: row}, a4: {symmetric: false}}"]
    )
    assert recipe.spec("w1a8").weights["linear"].method == "binary"
    ternary = recipe.spec("w2a8").weights
    assert {w.method for w in ternary.values()} == {"ternary"}
    assert ternary["linear"].granularity == "row"
    assert recipe.spec("w4a8").weights["linear"].granularity == "tensor"
    own = load_recipe("kdlsq", ["widths={w2: {granularity: row}}", "weights.pooler={granularity: tensor, bits: 2}"])
    assert own.spec("w4a8").weights["pooler"].granularity == "tensor"
    assert own.spec("w4a8").weights["linear"].bits == 4


def test_the_last_layers_have_a_width_of_their_own():
    recipe = load_recipe("kdlsq", ["last_layers={share: 0.5, bits: w4a4}", "overrides=[{tensors: '*.5.*', bits: 3}]"])
    spec = recipe.spec("w8a8", 6)
    for layer, weight, activation in ((0, 8, 8), (2, 8, 8), (3, 4, 4), (4, 4, 4), (5, 3, 3)):
        name = f"encoder.layer.{layer}.output.dense"
        assert (spec.weight(f"{name}.weight").bits, spec.activation(f"{name}.input").bits) == (weight, activation)
    assert spec.activation("encoder.layer.3.intermediate.intermediate_act_fn.input").bits == 8  # as its kind says
    assert spec.weight("pooler.dense.weight").bits == spec.weight("embeddings.word_embeddings.weight").bits == 8
    assert {spec.weight(n).bits for n in weight_names(2, True)} == {8}


def test_a_stage_may_be_float_in_part(written):
    path = written(stages=[{"bits": "w4a32"}, {"bits": "w32a8"}, {}])
    recipe = load_recipe(path, bits="w2a8")
    weights_only, activations_only, final = (recipe.spec_of(stage, 2) for stage in recipe.stages)
    assert {w.bits for w in weights_only.weights.values()} == {4}
    assert {a.bits for a in weights_only.activations.values()} == {None}
    assert {w.bits for w in activations_only.weights.values()} == {None}
    assert final == recipe.spec("w2a8", 2)


def test_a_setting_may_need_the_width_that_is_asked_for():
    setting = ["weights.all.packing=base3"]  # of ternary codes
    assert load_recipe("kdlsq", setting, "w2a8").spec().weights["linear"].packing == "base3"
    with pytest.raises(RecipeError, match="base3"):
        load_recipe("kdlsq", setting)


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("epochs", "must have the form key=value"),
        ("=3", "must have the form key=value"),
        ("eppochs=1", "unknown key 'eppochs', expected one of: name, "),
        ("losses.hiden=1", "unknown key 'stages.0.losses.hiden'"),
        ("calibration.rows=1", "unknown key 'calibration.rows'"),
        ("epochs=many", "stages.0.epochs: input should be a valid number, not 'many'"),
        ("epochs=0", "stages.0.epochs: input should be greater than 0, not 0"),
        ("epochs=.inf", "stages.0.epochs: input should be a finite number, not inf"),
        ("epochs=nan", "stages.0.epochs: "),
        ("batch_size=2.5", "stages.0.batch_size: input should be a valid integer, not 2.5"),
        ("dropout=1", "stages.0.dropout: input should be less than 1, not 1"),
        ("calibration.weights=guess", "calibration.weights: input should be 'minmax', 'percentile', 'histogram' or"),
        ("stages.0.start=later", "a stage starts from 'later', which is not an earlier one: model"),
        ("teacher=w4", "a stage learns from 'w4', which is not an earlier one: model"),
        ("stages.0.bits=w4a32", "the last one no bits of its own"),
        ("stages.0.name=model", "stages need different names"),
        ("copies=2", "new texts have no labels: a stage with copies or recombined needs losses.labels 0"),
        ("recombined=2", "new texts have no labels: a stage with copies or recombined needs losses.labels 0"),
        ("copies=-1", "stages.0.copies: "),
        ("last_layers={share: 0, bits: w4a4}", "last_layers.share: "),
        ("last_layers={bits: w9a4}", "w9a4: 9-bit weights are not supported"),
        ("widths.w9={}", "widths.w9"),
        ("widths.w4.method=ternary", "method 'ternary' gives 2-bit weights, not 4-bit ones"),
        ("stages.3.epochs=1", "there is no '3' to set"),
        ("stages.0=1", "stages has no field '0'"),
        ("name.first=x", "name has no field 'first'"),
        ("weights.linear.bits=9", "linear: 9-bit weights are not supported, expected 0 to 8"),
        ("weights.linear.bits=four", "linear: four-bit weights are not supported"),
        ("weights.head.bits=8", "unknown weight kind 'head'"),
        ("weights.all.method=guess", "unknown weight method 'guess'"),
        ("weights.all.method=ternary", "method 'ternary' gives 2-bit weights, not 4-bit ones"),
        ("weights.all.method=binary", "method 'binary' gives 1-bit weights, not 4-bit ones"),
        ("activations.key.symmetric=false", "keys and values have no zero point"),
        ("activations.all.width=8", "unknown key 'width'"),
        ("overrides=[{bits: 8}]", "an override needs 'tensors'"),
        ("bits=w4", "'w4' is not a width"),
        ("epochs=[1", "'[1' is not a YAML value"),
    ],
)
def test_a_setting_that_cannot_be(setting, reason):
    with pytest.raises(RecipeError) as error:
        load_recipe("kdlsq", [setting])
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "is not YAML"),
        ("- name", "must be a mapping, not list"),
        ("", "must be a mapping, not NoneType"),
        ("name: x\ndescription: y\n", "stages is missing"),
        ("name: 3\ndescription: y\nstages: [{}]\n", "name: input should be a valid string, not 3"),
        ("name: x\ndescription: y\nstages: [{}]\nlayers: 3\n", "unknown key 'layers'"),
        ("name: x\ndescription: y\nstages: [3]\n", "stages.0: "),
        ("name: x\ndescription: y\nstages: [{}]\nweights: {all: 4}\n", "weights.all: "),
    ],
)
def test_a_file_that_is_not_a_recipe(written, text, reason):
    path = written(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert reason in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(RecipeError, match="is not YAML"):
        load_recipe(tmp_path / "model.yaml")


@pytest.mark.parametrize("name", ["gone.yaml", "kdlsqq", "."])
def test_no_such_recipe(name):
    with pytest.raises(RecipeError, match=r"no recipe '.*': expected a YAML file or one of: kdlsq, mkq, ptq, q8bert"):
        load_recipe(name)


@pytest.mark.parametrize("name", ["kdlsq", "q8bert"])
def test_ranges_of_the_largest_weight_do_not_give_one_bit(name):
    with pytest.raises(SpecError, match=r"linear: method '.*' gives 2 to 8 bits, not 1; for 1 bit use 'binary'"):
        load_recipe(name).spec("w1a8")
    binary = load_recipe(name, ["weights.all.method=binary", "bits=w1a8"])
    assert binary.spec().weights["linear"].bits == 1


def test_a_recipe_does_not_change():
    recipe = load_recipe("kdlsq")
    with pytest.raises(ValueError, match="frozen"):
        recipe.bits = "w2a8"
    assert isinstance(recipe, Recipe)
