import pytest

from zs_env.engines import SEARCH_MODES, ScriptedEngine, TemplateEngine, make_engine
from zs_env.errors import ConfigError
from zs_env.types import SyncSearchEngine


def test_template_is_a_search_mode():
    engine = make_engine("template")
    assert isinstance(engine, TemplateEngine)
    assert isinstance(engine, SyncSearchEngine)
    assert engine.name == "template"


@pytest.mark.parametrize("mode", ["googel", "", "Template", None, 3, ["template"], "wikipedia"])
def test_an_unknown_search_mode_is_an_error_that_names_those_there_are(mode):
    """Defect 18 of the field: an unknown mode that answers "No information available" to every query."""
    with pytest.raises(ConfigError, match=r"Unknown search mode .*Available: .*simulate_sft, template, wiki"):
        make_engine(mode)


def test_an_option_that_the_engine_does_not_take_is_an_error():
    with pytest.raises(ConfigError, match=r"'template' doesn't take 'base_url'\. It takes no options"):
        make_engine("template", base_url="http://localhost")


def test_a_registered_mode_is_made_with_its_options(monkeypatch):
    monkeypatch.setitem(SEARCH_MODES, "scripted", ScriptedEngine)
    assert make_engine("scripted", script="text", name="mine").name == "mine"
    with pytest.raises(ConfigError, match="'scripted' doesn't take 'speed'"):
        make_engine("scripted", speed=3)
