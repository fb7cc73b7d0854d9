import pytest
import recipe_fakes
import tomli
from attrs import evolve

from dit_toolkit.errors import PluginError, RecipeError
from dit_toolkit.recipe.load import apply, dumps, load_recipe, merge, override, read, read_resolved
from dit_toolkit.recipe.structure import structure

SAMPLER = """\
from attrs import frozen
from dit_toolkit.components import Sampler
from dit_toolkit.hookspecs import hookimpl

@frozen(kw_only=True)
class Midpoint(Sampler):
    kind = "midpoint"
    num_steps: int = 50
    def sample(self, denoiser, noise, *, generator=None): ...

@hookimpl
def register_samplers():
    return [Midpoint]
"""


@pytest.fixture
def write(fakes, tmp_path):
    def write(name="recipe.toml", text=recipe_fakes.TOML):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def lines(call, *args, **options):
    with pytest.raises(RecipeError) as error:
        call(*args, **options)
    return list(error.value.lines)


def test_a_recipe_is_loaded_from_a_file(write):
    assert load_recipe(write()).model.hidden_size == 64


def test_the_resolved_recipe_is_read_back_equal(write):
    recipe = load_recipe(write())
    path = write("run/recipe.toml", dumps(recipe))
    assert load_recipe(path) == recipe
    assert read_resolved(path) == evolve(recipe, train=evolve(recipe.train, trackers=[]))


def test_set_overrides_the_file(write):
    recipe = load_recipe(write(), set=["model.depth=2", "train.precision=fp16", "sample.labels=[1]", "seed = 7"])
    assert (recipe.model.depth, recipe.train.precision, recipe.sample.labels, recipe.seed) == (2, "fp16", [1], 7)


def test_set_that_changes_a_kind_drops_the_options_of_the_old_one_in_any_order(write):
    for setting in (["sample.sampler.kind=ddpm", "sample.sampler.num_steps=9"],) * 2:
        recipe = load_recipe(write(), set=setting)
        assert recipe.sample.sampler == recipe_fakes.DDPMSampler(num_steps=9)
        setting.reverse()


@pytest.mark.parametrize("text", ["depth", "=3", "[model]=3", "#x=3", "a..b=1", "", "a b=1", "x\ny=1"])
def test_what_is_no_setting_is_refused(write, text):
    [line] = lines(load_recipe, write(), set=[text])
    assert "expected KEY=VALUE" in line


def test_a_setting_through_a_value_is_refused(write):
    assert lines(load_recipe, write(), set=["model.depth.x=1"]) == [
        "model.depth: expected a table for --set 'model.depth.x=1', got int 4"
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=fast", "fast"),
        ("a=true", True),
        ("a=True", "True"),
        ("a='x'", "x"),
        ("a=[1, 2]", [1, 2]),
        ("a={b = 1}", {"b": 1}),
        ("a=", ""),
        ("a=x=y", "x=y"),
        ("a=C:\\x", "C:\\x"),
        ("a=" + "9" * 5000, "9" * 5000),
    ],
)
def test_a_setting_is_a_toml_value_or_a_word(text, value):
    assert override({}, [text]) == {"a": value}


def test_a_setting_of_a_free_table_may_quote_its_keys(write):
    recipe = load_recipe(write(), set=['train.backend.config."a.b".c=1'])
    assert recipe.train.backend.config["a.b"] == {"c": 1}


def test_layers_merge_tables_replace_lists_and_drop_options_of_another_kind():
    base = {"a": {"x": 1, "y": [1, 2]}, "s": {"kind": "p", "eta": 1}, "t": {"kind": "p", "eta": 1}}
    layer = {"a": {"y": [3]}, "s": {"kind": "q"}, "t": {"kind": "p", "n": 2}}
    assert merge(base, layer) == {
        "a": {"x": 1, "y": [3]},
        "s": {"kind": "q"},
        "t": {"kind": "p", "eta": 1, "n": 2},
    }
    assert base["a"] == {"x": 1, "y": [1, 2]}


def test_extends_is_relative_to_the_file_and_may_be_chained(write):
    write("base/bottom.toml")
    write("base/middle.toml", 'extends = "bottom.toml"\n[model]\ndepth = 7\n[train]\nmax_steps = 9')
    top = write("top.toml", 'extends = "base/middle.toml"\n[train]\nmax_steps = 8')
    recipe = load_recipe(top, set=["train.lr=0.5"])
    assert (recipe.model.depth, recipe.train.max_steps, recipe.train.lr) == (7, 8, 0.5)


def test_a_circle_of_extends_is_refused(write):
    write("a.toml", 'extends = "b.toml"')
    [line] = lines(load_recipe, write("b.toml", 'extends = "a.toml"'))
    assert "b.toml -> a.toml -> b.toml" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends = 3", "extends: expected"),
        ('extends = "no.toml"', "no.toml: no such file"),
        ('extends = "a\\u0000b"', "cannot be read"),
    ],
)
def test_a_wrong_extends_is_named(write, text, message):
    [line] = lines(load_recipe, write(text=text))
    assert message in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 1\nseed = 2\n", "(at line 2"),
        ("[model\ndepth = 1", "(at line 1"),
        (b"a = 1\n\xff\xfe", "not UTF-8 text (at line 2)"),
        (f"seed = {'9' * 5000}", "recipe.toml: Exceeds the limit"),
        ("seed = " + "[" * 100_000, "nested too deeply"),
        ("model." + "a." * 100 + "b = 1", "model.a.a.a...: nested more than 32 levels deep"),
        ("model." + "a." * 50_000 + "b = 1", "nested too deeply"),
        ("train.backend.config.a = " + "[" * 100 + "]" * 100, "train.backend.config.a...: nested more"),
        ("#" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
)
def test_an_unreadable_file_is_named_with_the_line(write, text, message):
    [line] = lines(load_recipe, write(text=text))
    assert message in line


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert lines(load_recipe, tmp_path / "no.toml") == [f"{tmp_path}/no.toml: no such file"]
    assert lines(load_recipe, tmp_path) == [f"{tmp_path}: is a folder, not a recipe file"]
    for name in ("a\0b", "x" * 5_000):
        [line] = lines(load_recipe, tmp_path / name)
        assert "cannot be read" in line


MIDPOINT = recipe_fakes.TOML.replace('"ddim"', '"midpoint"')


def test_the_plugin_files_of_a_recipe_are_relative_to_it(write):
    write("plugins/my_sampler.py", SAMPLER)
    recipe = load_recipe(write(text='plugins = ["plugins/my_sampler.py"]\n' + MIDPOINT))
    assert type(recipe.sample.sampler).kind == "midpoint"
    assert recipe.plugins == ["plugins/my_sampler.py"]
    assert tomli.loads(dumps(recipe))["plugins"] == ["plugins/my_sampler.py"]


def test_the_plugin_files_of_an_extended_recipe_are_relative_to_that(write):
    write("base/my_sampler.py", SAMPLER)
    write("base/base.toml", 'plugins = ["my_sampler.py"]\n' + MIDPOINT)
    recipe = load_recipe(write("top/recipe.toml", 'extends = "../base/base.toml"'))
    assert recipe.plugins == ["../base/my_sampler.py"]


def test_plugin_files_may_be_given_beside_the_recipe(write):
    recipe = load_recipe(write(text=MIDPOINT), plugins=[write("x.py", SAMPLER)])
    assert type(recipe.sample.sampler).kind == "midpoint"
    with pytest.raises(PluginError, match=r"no\.py"):
        load_recipe(write(), plugins=["no.py"])


def test_a_broken_plugin_file_is_reported_with_all_other_faults(write):
    write("bad.py", "import does_not_exist")
    path = write(text='plugins = ["bad.py", "no.py", 3]\n' + recipe_fakes.TOML.replace("depth", "depht"))
    found = lines(load_recipe, path)
    assert [line.split(":")[0] for line in found] == ["plugins[0]", "plugins[1]", "plugins[2]", "model", "model.depth"]
    assert "does_not_exist" in found[0]


def test_a_stored_recipe_runs_no_code_unasked(write):
    file = write("my_sampler.py", "raise RuntimeError('ran')")
    path = write(text='plugins = ["my_sampler.py"]\n' + MIDPOINT)
    unknown, note = lines(read_resolved, path)
    assert unknown.startswith("sample.sampler.kind: unknown sampler 'midpoint'")
    assert note.endswith("--plugin my_sampler.py")
    file.write_text(SAMPLER)
    assert type(read_resolved(path, plugins=[file]).sample.sampler).kind == "midpoint"


def test_settings_change_a_recipe(table):
    recipe = structure(table)
    assert apply(recipe, []) is recipe
    assert apply(recipe, ["sample.sampler.num_steps=20"]).sample.sampler.num_steps == 20
    assert apply(recipe, ["sample.sampler.kind=ddpm"]).sample.sampler == recipe_fakes.DDPMSampler()
    assert apply(recipe, ["seed=5"]).seed == 5
    assert lines(apply, recipe, ["sample.sampler.num_step=20"]) == [
        "sample.sampler: unknown key 'num_step'; did you mean 'num_steps'?"
    ]


def test_loading_checks_the_recipe_as_a_whole(write):
    assert lines(load_recipe, write(), set=["model.num_classes=11"]) == [
        "model.num_classes: must be 10, as many as the dataset has, got 11"
    ]


def test_reading_leaves_the_table_unchecked(write):
    assert read(write(text="nonsense = 1")) == {"nonsense": 1}
